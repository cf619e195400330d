import { hostname } from "node:os";
import * as v from "valibot";
import { serveGrpc } from "../grpc/server.ts";
import { gpuMemory } from "../kubernetes/objects/gpu_memory.ts";
import type { Gpu } from "../pool/inventory.ts";
import { integer, port, readEnvironment, seconds } from "../program/environment.ts";
import { runProgram } from "../program/run.ts";
import { PoolService } from "../proto/gen/bitfusion/pool/v1/pool_pb.ts";
import { createLedger } from "./leases/ledger.ts";
import { createPoolService } from "./service.ts";

/** One server of a pool with simulated GPUs. */
await runProgram("bitfusion-server", async ({ environment, log, signal }) => {
  const env = readEnvironment(
    {
      PORT: v.optional(port(), "56001"),
      /** Number of GPUs. */
      GPUS: v.optional(integer({ min: 0, max: 1024 }), "1"),
      GPU_MEMORY: v.optional(gpuMemory(), "16000"),
      /** Life of a lease that nobody renews, in seconds. */
      LEASE_TIME: v.optional(seconds({ min: 0.1, max: 3600 }), "15"),
      /** The server's own name; with PORT it makes up the ids of its GPUs, so both stay the same over restarts. */
      SERVER_NAME: v.optional(v.string(), hostname()),
      /** What it tells of itself, for filters. */
      HAS_RDMA: v.optional(v.picklist(["true", "false"], "expected true or false"), "false"),
      CUDA_VERSION: v.optional(v.string(), "12.4"),
      DRIVER_VERSION: v.optional(v.string(), "550.54.15"),
    },
    environment,
  );
  const gpus = Array.from(
    { length: env.GPUS },
    (_, index): Gpu => ({
      id: `${env.SERVER_NAME}:${env.PORT}/${index}`,
      model: "Simulated GPU",
      memoryMb: env.GPU_MEMORY,
      healthy: true,
    }),
  );
  const ledger = createLedger({ gpus, timeToLive: env.LEASE_TIME, now: Date.now, newId: () => crypto.randomUUID() });
  const facts = {
    hostname: env.SERVER_NAME,
    hasRdma: env.HAS_RDMA === "true",
    cudaVersion: env.CUDA_VERSION,
    driverVersion: env.DRIVER_VERSION,
  };
  const service = createPoolService({ facts, gpus, ledger, timeToLive: env.LEASE_TIME, log });
  await using server = await serveGrpc({
    listen: { port: env.PORT },
    routes: (router) => router.service(PoolService, service),
  });
  log.info("Pool server started", { port: server.port, hostname: env.SERVER_NAME, gpus: gpus.length });
  await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
});
