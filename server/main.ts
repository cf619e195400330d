import { serveGrpc } from "../grpc/server.ts";
import { readEnvironment } from "../program/environment.ts";
import { createLatest } from "../program/latest.ts";
import { listenOn } from "../program/listen.ts";
import { runProgram } from "../program/run.ts";
import { PoolService } from "../proto/gen/bitfusion/pool/v1/pool_pb.ts";
import { simulatedGpus } from "./gpus/simulated.ts";
import { createLedger } from "./leases/ledger.ts";
import { createPoolService } from "./service.ts";
import { SETTINGS } from "./settings.ts";

/** A server of the pool, with simulated GPUs. */
await runProgram("bitfusion-server", async ({ environment, log, signal }) => {
  const env = readEnvironment(SETTINGS, environment);
  const idPrefix = `${env.SERVER_NAME}:${env.PORT}`;
  const gpus = createLatest(simulatedGpus({ count: env.GPUS, memoryMb: env.GPU_MEMORY, idPrefix }));
  const ledger = createLedger({
    gpus: () => gpus.current ?? [],
    timeToLive: env.LEASE_TIME,
    newId: () => crypto.randomUUID(),
  });
  const facts = {
    hostname: env.SERVER_NAME,
    hasRdma: env.HAS_RDMA === "true",
    cudaVersion: env.CUDA_VERSION,
    driverVersion: env.DRIVER_VERSION,
  };
  const service = createPoolService({ facts, gpus, ledger, timeToLive: env.LEASE_TIME, log });
  const open = () =>
    serveGrpc({ listen: { port: env.PORT }, routes: (router) => router.service(PoolService, service) });
  await using server = await listenOn("PORT", env.PORT, open);
  log.info("Pool server started", { port: server.port, hostname: env.SERVER_NAME, gpus: env.GPUS });
  await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
});
