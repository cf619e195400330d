import { cpuTime } from "../common/process_usage.ts";
import { createTlsFolder, type ServerProcess, startServer } from "../common/server_process.ts";
import { median, percentile } from "../common/statistics.ts";
import { type Connection, connect, type Target } from "./connection.ts";
import { startForwarder } from "./forwarder.ts";
import { TRANSFER } from "./transfer.ts";

/** All ways are measured in turn, so that other load of the machine meets each. */
const ROUNDS = 9;
const CALLS = 2000;

/** Connections at once: more than a server has of one container, and as many as a container may have. */
const GATE_CONNECTIONS = 200;
const FORWARDER_CONNECTIONS = 20;

/** As long as a small call of CUDA with its arguments, in bytes. */
const CALL = Buffer.alloc(64);
const UPLOAD = Buffer.alloc(TRANSFER);

/** What is measured in turn. */
const WAYS = ["direct", "tls", "gate", "forwarder"] as const;
type Way = (typeof WAYS)[number];

/**
 * Measures the gate, and the forwarder of a pod in front of it, beside direct connections over loopback to the same process, without TLS and with
 * it: the latter is what any gate of this runtime costs at least. Each end is a process of its own.
 */
export async function benchGate(): Promise<Record<string, string>[][]> {
  await using tls = await createTlsFolder();
  await using echo = await startServer("bench/gate/echo_process.ts", { tls: tls.path });
  await using encrypted = await startServer("bench/gate/echo_process.ts", {
    tls: tls.path,
    environment: { USE_TLS: "1" },
  });
  const environment = { UPSTREAM: String(echo.port) };
  const startGate = () => startServer("bench/gate/gate_process.ts", { tls: tls.path, environment });
  await using gate = await startGate();
  await using forwarder = await startForwarder({ port: gate.port, ca: tls.ca });
  const targets = {
    direct: { port: echo.port },
    tls: { port: encrypted.port, ca: tls.ca },
    gate: { port: gate.port, ca: tls.ca, isGate: true },
    forwarder: { port: forwarder.port },
  };
  const cpuTimes = () => Promise.all([gate, forwarder].map(({ pid }) => cpuTime(pid)));
  async function compare(mode: string, measure: (connection: Connection) => Promise<number[]>) {
    const before = await cpuTimes();
    const results = await inTurn(targets, mode, measure);
    const [gateCpu = 0, forwarderCpu = 0] = (await cpuTimes()).map((time, index) => time - (before[index] ?? 0));
    return { ...results, gateCpu: gateCpu / 2, forwarderCpu }; // both ways pass the gate
  }
  const calls = await compare("e", callTimes);
  const up = await compare("u", upload);
  const down = await compare("d", (connection) => throughput(connection, Buffer.alloc(1), TRANSFER));
  const perCall = (seconds: number) => `${((seconds / ((ROUNDS + 1) * CALLS)) * 1e6).toFixed(0)} µs`;
  const perGigabyte = (seconds: number) => `${((seconds * 1e9) / ((ROUNDS + 1) * TRANSFER)).toFixed(2)} s/GB`;
  const row = (
    measure: string,
    figure: (values: number[]) => number,
    results: typeof calls,
    cpu: (seconds: number) => string,
  ) => {
    const [direct = 0, encrypted = 0, gate = 0, forwarder = 0] = WAYS.map((way) => figure(results[way]));
    const digits = direct < 10 ? 2 : 0;
    return {
      Measure: measure,
      Direct: direct.toFixed(digits),
      "Direct with TLS": encrypted.toFixed(digits),
      Gate: gate.toFixed(digits),
      "Forwarder and gate": forwarder.toFixed(digits),
      "TLS / direct": (encrypted / direct).toFixed(2),
      "Gate / direct": (gate / direct).toFixed(2),
      "Forwarder and gate / direct": (forwarder / direct).toFixed(2),
      "CPU of the gate": cpu(results.gateCpu),
      "CPU of the forwarder": cpu(results.forwarderCpu),
    };
  };
  const p99 = (values: number[]) => percentile(values, 0.99);
  return [
    [
      row("call of 64 bytes, p50, µs", median, calls, perCall),
      row("call of 64 bytes, p99, µs", p99, calls, perCall),
      row("to the server, GB/s", median, up, perGigabyte),
      row("from the server, GB/s", median, down, perGigabyte),
    ],
    [await benchGateConnections(startGate, tls.ca), await benchForwarderConnections(targets.gate)],
  ];
}

/** Measures a fresh gate with many connections at once. */
async function benchGateConnections(start: () => Promise<ServerProcess>, ca: string) {
  await using gate = await start();
  const open = () => connect({ port: gate.port, ca, isGate: true }, "e");
  return await benchConnections("gate", gate, open, GATE_CONNECTIONS);
}

/** Measures a fresh forwarder with many connections at once, after large transfers. */
async function benchForwarderConnections(gate: { port: number; ca: string }) {
  await using forwarder = await startForwarder(gate);
  for (let transfer = 0; transfer < 5; transfer++) {
    using connection = await connect({ port: forwarder.port }, "u");
    await upload(connection);
  }
  const open = () => connect({ port: forwarder.port }, "e");
  return await benchConnections("forwarder", forwarder, open, FORWARDER_CONNECTIONS);
}

async function benchConnections(
  process: string,
  { memory }: ServerProcess,
  open: () => Promise<Connection>,
  count: number,
): Promise<Record<string, string>> {
  using stack = new DisposableStack();
  await callTimes(stack.use(await open()));
  const before = await memory();
  const connections: Connection[] = [];
  while (connections.length < count) connections.push(stack.use(await open()));
  const idle = await memory();
  const times = (await Promise.all(connections.map((connection) => callTimes(connection, 200)))).flat();
  const after = await memory();
  const perConnection = (memory: number) => ((memory - before) / count / 1000).toFixed(0);
  return {
    Process: process,
    Connections: String(count),
    "KB per connection, idle": perConnection(idle),
    "KB per connection, after calls": perConnection(after),
    "RSS, MB": (after / 1e6).toFixed(0),
    "call with all at once, p50, ms": (median(times) / 1000).toFixed(1),
    "p99, ms": (percentile(times, 0.99) / 1000).toFixed(1),
  };
}

/** Measures all ways in turn. Returns the results of all rounds but the first. */
async function inTurn(
  targets: Readonly<Record<Way, Target>>,
  mode: string,
  measure: (connection: Connection) => Promise<number[]>,
): Promise<Record<Way, number[]>> {
  const results: Record<Way, number[]> = { direct: [], tls: [], gate: [], forwarder: [] };
  for (let round = 0; round <= ROUNDS; round++) {
    for (const way of WAYS) {
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

/** Sends bytes. Returns the throughput. */
function upload(connection: Connection): Promise<number[]> {
  return throughput(connection, UPLOAD, 1);
}

/** In GB (10⁹ bytes) per second. */
async function throughput(connection: Connection, bytes: Buffer, answer: number): Promise<number[]> {
  const start = performance.now();
  await connection.exchange(bytes, answer);
  return [TRANSFER / (performance.now() - start) / 1e6];
}
