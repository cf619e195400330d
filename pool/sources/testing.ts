import { durationMs } from "@bufbuild/protobuf/wkt";
import type { ServiceImpl } from "@connectrpc/connect";
import { serveGrpc } from "../../grpc/server.ts";
import { createLatest } from "../../program/latest.ts";
import { PoolService } from "../../proto/gen/bitfusion/pool/v1/pool_pb.ts";
import type { TlsIdentity } from "../../tls/key_pair.ts";
import { TEST_CLIENT, TEST_SERVER } from "../../tls/testing.ts";
import type { Gpu, ServerFacts } from "../inventory.ts";
import type { Token } from "../token/token.ts";
import { createPoolServers, type PoolClient } from "./pool_servers.ts";

/** The options of a source with the identity that the servers of tests accept. */
export const TEST_IDENTITY = { tls: () => TEST_CLIENT };

const connections = createPoolServers({ servers: [], token: createLatest<Token>({ tls: TEST_CLIENT }) });

/** A client of a server of tests, on a connection of its own. */
export const testClientOf = (address: string): PoolClient => connections.client(address);

/** Serves this method of `bitfusion.pool.v1` alone, on a free port. */
export function serveWatch(watchInventory: NonNullable<Partial<ServiceImpl<typeof PoolService>>["watchInventory"]>) {
  return serveGrpc({
    listen: { port: 0, tls: TEST_SERVER },
    drain: 50,
    routes: (router) => router.service(PoolService, { watchInventory }),
  });
}

export interface InventoryServerOptions {
  /** TCP port; 0 selects a free port. */
  port?: number;
  hostname?: string;
  /** The GPUs, or their number; 1 by default. */
  gpus?: number | readonly Gpu[];
  memoryMb?: number;
  /** By default the identity of servers of tests. */
  tls?: TlsIdentity;
}

/** A pool server that reports an inventory and does not grant leases. */
export interface InventoryServer extends AsyncDisposable {
  readonly address: string;
  readonly port: number;
  readonly gpus: readonly Gpu[];
  readonly facts: ServerFacts;
  /** Resolves with the performance.now() of the first watch. */
  readonly firstWatch: Promise<number>;
  /** Replaces the reported GPUs. */
  setGpus(gpus: readonly Gpu[]): void;
}

/**
 * Serves the inventory calls of `bitfusion.pool.v1` on 127.0.0.1. GPU ids are `<hostname>/0`, `<hostname>/1` and so on.
 */
export async function startInventoryServer(options: InventoryServerOptions = {}): Promise<InventoryServer> {
  const { port = 0, hostname = "server", memoryMb = 16_000, tls = TEST_SERVER } = options;
  const gpus = typeof options.gpus === "object" ? options.gpus : createGpus(options.gpus ?? 1, { hostname, memoryMb });
  const facts = { hostname, hasRdma: false, cudaVersion: "12.4", driverVersion: "550.54.15" };
  const toMessage = (list: readonly Gpu[]) => ({
    ...facts,
    gpus: list.map((gpu) => ({ ...gpu, memoryMb: BigInt(gpu.memoryMb) })),
  });
  const inventory = createLatest(toMessage(gpus));
  const firstWatch = Promise.withResolvers<number>();
  const server = await serveGrpc({
    listen: { port, host: "127.0.0.1", tls },
    drain: 50,
    routes: (router) =>
      router.service(PoolService, {
        getInventory: () => ({ inventory: inventory.current ?? {} }),
        async *watchInventory({ heartbeatInterval }, { signal }) {
          firstWatch.resolve(performance.now());
          let last: object | undefined;
          const interval = heartbeatInterval ? durationMs(heartbeatInterval) : 1000;
          for await (const current of inventory.changes(signal, interval)) {
            yield current === last ? {} : { inventory: current };
            last = current;
          }
        },
      }),
  });
  return {
    address: `127.0.0.1:${server.port}`,
    port: server.port,
    gpus,
    facts,
    firstWatch: firstWatch.promise,
    setGpus: (list) => inventory.set(toMessage(list)),
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

function createGpus(count: number, { hostname, memoryMb }: { hostname: string; memoryMb: number }): Gpu[] {
  return Array.from({ length: count }, (_, index) => ({
    id: `${hostname}/${index}`,
    model: "Simulated GPU",
    memoryMb,
    healthy: true,
  }));
}
