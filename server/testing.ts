import { Code, ConnectError } from "@connectrpc/connect";
import { serveGrpc } from "../grpc/server.ts";
import type { Gpu, ServerFacts } from "../pool/inventory.ts";
import { createLatest } from "../program/latest.ts";
import { silentLog } from "../program/testing.ts";
import { PoolService } from "../proto/gen/bitfusion/pool/v1/pool_pb.ts";
import { simulatedGpus } from "./gpus/simulated.ts";
import { createLedger, type Ledger } from "./leases/ledger.ts";
import { createPoolService } from "./service.ts";

export interface PoolServerOptions {
  /** 0: any free port. */
  port?: number;
  hostname?: string;
  gpus?: number;
  memoryMb?: number;
  /** Time until a lease that is not renewed expires, in ms. */
  timeToLive?: number;
  /** Number of claims that the server handles without the client getting the answer. */
  lostAnswers?: number;
  /** The ledger's clock, in ms. */
  now?: () => number;
}

export interface RunningPoolServer extends AsyncDisposable {
  readonly address: string;
  readonly port: number;
  /** The server's GPUs now. */
  readonly gpus: readonly Gpu[];
  /** Replaces the server's GPUs, as when one fails. */
  setGpus(gpus: readonly Gpu[]): void;
  readonly facts: ServerFacts;
  readonly ledger: Ledger;
}

/** Starts a simulated pool server in this process, for tests. Its GPUs are `hostname/0`, `hostname/1` and so on. */
export async function startPoolServer({
  port = 0,
  hostname = "server",
  gpus: count = 1,
  memoryMb = 16_000,
  timeToLive = 600_000,
  lostAnswers = 0,
  now,
}: PoolServerOptions = {}): Promise<RunningPoolServer> {
  const gpus = createLatest(simulatedGpus({ count, memoryMb, idPrefix: hostname }));
  const currentGpus = () => gpus.current ?? [];
  const ledger = createLedger({
    gpus: currentGpus,
    timeToLive,
    ...(now ? { now } : {}),
    newId: () => crypto.randomUUID(),
  });
  const facts = { hostname, hasRdma: false, cudaVersion: "12.4", driverVersion: "550.54.15" };
  const service = createPoolService({ facts, gpus, ledger, timeToLive, log: silentLog });
  let lost = lostAnswers;
  const server = await serveGrpc({
    listen: { port, host: "127.0.0.1" },
    routes: (router) =>
      router.service(PoolService, {
        ...service,
        claim(request, context) {
          const response = service.claim(request, context);
          if (lost-- > 0) throw new ConnectError("The answer was lost", Code.Unavailable);
          return response;
        },
      }),
    drain: 50,
  });
  return {
    address: `127.0.0.1:${server.port}`,
    port: server.port,
    get gpus() {
      return currentGpus();
    },
    setGpus: gpus.set,
    facts,
    ledger,
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}
