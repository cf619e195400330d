import { cpuTime } from "../common/process_usage.ts";
import { createTlsFolder, type ServerProcess, startServer } from "../common/server_process.ts";
import { median, percentile } from "../common/statistics.ts";
import { type Connection, connect, type Target } from "./connection.ts";
import { TRANSFER } from "./transfer.ts";

/** All ways are measured in turn, so that other load of the machine meets each. */
const ROUNDS = 9;
const CALLS = 2000;
const CONNECTIONS = 200;

/** As long as a small call of CUDA with its arguments, in bytes. */
const CALL = Buffer.alloc(64);
const UPLOAD = Buffer.alloc(TRANSFER);

/** What is measured in turn. */
type Way = "direct" | "tls" | "gate";

/**
 * Measures the gate beside direct connections over loopback to the same process, without TLS and with it: the latter is what any gate of
 * this runtime costs at least. Each end is a process of its own.
 */
export async function benchGate(): Promise<Record<string, string>[][]> {
  await using tls = await createTlsFolder();
  await using echo = await startServer("bench/gate/echo_process.ts", { tls: tls.path });
  await using encrypted = await startServer("bench/gate/echo_process.ts", {
    tls: tls.path,
    environment: { USE_TLS: "1" },
  });
  const environment = { UPSTREAM: String(echo.port) };
  await using gate = await startServer("bench/gate/gate_process.ts", { tls: tls.path, environment });
  const targets = {
    direct: { port: echo.port },
    tls: { port: encrypted.port, ca: tls.ca },
    gate: { port: gate.port, ca: tls.ca, isGate: true },
  };
  const cpu = [await cpuTime(gate.pid)];
  async function compare(mode: string, measure: (connection: Connection) => Promise<number[]>) {
    const results = await inTurn(targets, mode, measure);
    cpu.push(await cpuTime(gate.pid));
    return results;
  }
  const calls = await compare("e", callTimes);
  const up = await compare("u", (connection) => throughput(connection, UPLOAD, 1));
  const down = await compare("d", (connection) => throughput(connection, Buffer.alloc(1), TRANSFER));
  const [callCpu = 0, upCpu = 0, downCpu = 0] = cpu.slice(1).map((time, index) => time - (cpu[index] ?? 0));
  const perCall = `${((callCpu / ((ROUNDS + 1) * CALLS)) * 1e6).toFixed(0)} µs`;
  const perGigabyte = (seconds: number) => `${((seconds * 1e9) / ((ROUNDS + 1) * TRANSFER)).toFixed(2)} s/GB`;
  const row = (measure: string, figure: (values: number[]) => number, results: Record<Way, number[]>, cpu: string) => {
    const [direct, encrypted, gate] = [figure(results.direct), figure(results.tls), figure(results.gate)];
    const digits = direct < 10 ? 2 : 0;
    return {
      Measure: measure,
      Direct: direct.toFixed(digits),
      "Direct with TLS": encrypted.toFixed(digits),
      Gate: gate.toFixed(digits),
      "TLS / direct": (encrypted / direct).toFixed(2),
      "Gate / direct": (gate / direct).toFixed(2),
      "CPU of the gate": cpu,
    };
  };
  const p99 = (values: number[]) => percentile(values, 0.99);
  return [
    [
      row("call of 64 bytes, p50, µs", median, calls, perCall),
      row("call of 64 bytes, p99, µs", p99, calls, perCall),
      row("to the server, GB/s", median, up, perGigabyte(upCpu)),
      row("from the server, GB/s", median, down, perGigabyte(downCpu)),
    ],
    await benchConnections(() => startServer("bench/gate/gate_process.ts", { tls: tls.path, environment }), tls.ca),
  ];
}

/** Measures a fresh gate with many connections at once. */
async function benchConnections(start: () => Promise<ServerProcess>, ca: string): Promise<Record<string, string>[]> {
  await using gate = await start();
  using stack = new DisposableStack();
  const open = async () => stack.use(await connect({ port: gate.port, ca, isGate: true }, "e"));
  await callTimes(await open(), CALLS);
  const before = await gate.memory();
  const connections: Connection[] = [];
  while (connections.length < CONNECTIONS) connections.push(await open());
  const idle = await gate.memory();
  const times = (await Promise.all(connections.map((connection) => callTimes(connection, 200)))).flat();
  const perConnection = (memory: number) => ((memory - before) / CONNECTIONS / 1000).toFixed(0);
  return [
    {
      Connections: String(CONNECTIONS),
      "KB per connection, idle": perConnection(idle),
      "KB per connection, after calls": perConnection(await gate.memory()),
      "RSS, MB": ((await gate.memory()) / 1e6).toFixed(0),
      "call with all at once, p50, ms": (median(times) / 1000).toFixed(1),
      "p99, ms": (percentile(times, 0.99) / 1000).toFixed(1),
    },
  ];
}

/** Measures all ways in turn. Returns the results of all rounds but the first. */
async function inTurn(
  targets: Readonly<Record<Way, Target>>,
  mode: string,
  measure: (connection: Connection) => Promise<number[]>,
): Promise<Record<Way, number[]>> {
  const results: Record<Way, number[]> = { direct: [], tls: [], gate: [] };
  for (let round = 0; round <= ROUNDS; round++) {
    for (const way of ["direct", "tls", "gate"] as const) {
      using connection = await connect(targets[way], mode);
      const values = await measure(connection);
      if (round > 0) results[way].push(...values);
    }
  }
  return results;
}

/** The times of calls one after the other, in µs. */
async function callTimes(connection: Connection, calls = CALLS): Promise<number[]> {
  const times: number[] = [];
  for (let call = 0; call < calls; call++) {
    const start = performance.now();
    await connection.exchange(CALL, CALL.length);
    times.push((performance.now() - start) * 1000);
  }
  return times;
}

/** In GB (10⁹ bytes) per second. */
async function throughput(connection: Connection, bytes: Buffer, answer: number): Promise<number[]> {
  const start = performance.now();
  await connection.exchange(bytes, answer);
  return [TRANSFER / (performance.now() - start) / 1e6];
}
