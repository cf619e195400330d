/* Pool servers in one process, each with a port of its own. It reads a PoolConfiguration from standard input, a line, and writes PoolAddresses. */
import { connect, createServer } from "node:net";
import { silentLog } from "../../program/testing.ts";
import { startServer } from "../../server/pool_server.ts";
import { TEST_RULES } from "../../server/testing.ts";
import type { TlsIdentity } from "../../tls/key_pair.ts";

/** What the process is to serve. */
export interface PoolConfiguration {
  readonly tls: TlsIdentity;
  /** The name of each server. */
  readonly hostnames: readonly string[];
  readonly gpusPerServer: number;
}

/** The first line that the process writes. */
export interface PoolAddresses {
  readonly addresses: readonly string[];
}

/** A line that the process writes for each further line on standard input: what happened since its start. */
export interface PoolTraffic {
  /** Messages of watches, of all servers. */
  readonly messages: number;
  /** Lists of leases, of all servers. */
  readonly lists: number;
  /** Bytes in TCP connections with the first server, in both directions, and the messages of its watches. */
  readonly sample: { readonly bytes: number; readonly messages: number };
}

if (import.meta.main) {
  const lines = console[Symbol.asyncIterator]();
  const { tls, hostnames, gpusPerServer } = JSON.parse((await lines.next()).value ?? "") as PoolConfiguration;
  let [messages, lists, sampleBytes, sampleMessages] = [0, 0, 0, 0];
  const ports: number[] = [];
  for (const [index, hostname] of hostnames.entries()) {
    const server = await startServer({
      port: 0,
      host: "127.0.0.1",
      tls,
      facts: { hostname, hasRdma: true, cudaVersion: "12.8", driverVersion: "570.124.06" },
      gpus: Array.from({ length: gpusPerServer }, (_, number) => ({
        number,
        id: `GPU-${crypto.randomUUID()}`,
        model: "NVIDIA H100 80GB HBM3",
        memoryMb: 85_520,
        healthy: true,
      })),
      clients: [TEST_RULES],
      timeToLive: 600_000,
      podTimeToLive: 600_000,
      wrap: (service) => ({
        ...service,
        async *watchInventory(request, context) {
          for await (const message of service.watchInventory(request, context)) {
            messages += 1;
            if (index === 0) sampleMessages += 1;
            yield message;
          }
        },
        listLeases(request, context) {
          lists += 1;
          return service.listLeases(request, context);
        },
      }),
      log: silentLog,
    });
    ports.push(index === 0 ? await countBytes(server.port, (bytes) => (sampleBytes += bytes)) : server.port);
  }
  write({ addresses: ports.map((port) => `127.0.0.1:${port}`) } satisfies PoolAddresses);
  for await (const _ of lines) {
    const sample = { bytes: sampleBytes, messages: sampleMessages };
    write({ messages, lists, sample } satisfies PoolTraffic);
  }
  process.exit();
}

/** Listens on a port that forwards to another one, and tells the size of each piece. Returns the port. */
async function countBytes(target: number, onBytes: (bytes: number) => void): Promise<number> {
  const relay = createServer((client) => {
    const server = connect(target, "127.0.0.1");
    for (const [from, to] of [
      [client, server],
      [server, client],
    ] as const) {
      from.on("data", (data) => {
        onBytes(data.length);
        to.write(data);
      });
      from.on("close", () => to.destroy());
      from.on("error", () => to.destroy());
    }
  });
  await new Promise<void>((resolve) => relay.listen(0, "127.0.0.1", resolve));
  return (relay.address() as { port: number }).port;
}

function write(value: object): void {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}
