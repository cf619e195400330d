import { expect, test } from "bun:test";
import type { ServerGpu } from "../gpus/gpu.ts";
import { launchFor } from "./launch.ts";

const GPUS: ServerGpu[] = [
  { number: 0, id: "GPU-a", model: "T4", memoryMb: 16_000, healthy: true },
  { number: 3, id: "GPU-b", model: "A2", memoryMb: 15_999, healthy: true },
];
const PLACE = { port: 1234, leaseFolder: "/run/x" };

test("launchFor() fills in what a lease has, and the least of what its GPUs give", () => {
  const command = [
    "serve",
    "--port={port}",
    "--gpus",
    "{gpuIndexes}",
    '{"json":{gpuUuids}}',
    "{leaseFolder}/{percent}",
  ];
  const environment = { LIMIT: "{memoryMb}m", GPUS: "{gpuUuids}" };
  const gpus = [
    { gpuId: "GPU-b", units: 50 },
    { gpuId: "GPU-a", units: 51 },
  ];
  expect(launchFor({ command, environment }, { gpus }, GPUS, PLACE)).toEqual({
    command: ["serve", "--port=1234", "--gpus", "3,0", '{"json":GPU-b,GPU-a}', "/run/x/50"],
    environment: { LIMIT: "7999m", GPUS: "GPU-b,GPU-a" },
  });
});

test("launchFor() loads the limiter into the process, with the share of each GPU in the order of the lease", () => {
  const gpus = [
    { gpuId: "GPU-b", units: 50 },
    { gpuId: "GPU-a", units: 25 },
  ];
  const configuration = { command: ["serve"], environment: { A: "1" } };
  const launch = (limits: "memory" | "memory-and-compute") =>
    launchFor({ ...configuration, limiter: { library: "/opt/libvgpu.so", limits } }, { gpus }, GPUS, PLACE);
  const environment = {
    A: "1",
    CUDA_DEVICE_MEMORY_LIMIT_0: "7999000000",
    CUDA_DEVICE_MEMORY_LIMIT_1: "4000000000",
    CUDA_DEVICE_MEMORY_SHARED_CACHE: "/run/x/limiter.cache",
    CUDA_REDIRECT: "/opt/libvgpu.so",
  };
  expect(launch("memory")).toEqual({ command: ["env", "LD_PRELOAD=/opt/libvgpu.so", "serve"], environment });
  expect(launch("memory-and-compute").environment).toEqual({
    ...environment,
    CUDA_DEVICE_SM_LIMIT_0: "50",
    CUDA_DEVICE_SM_LIMIT_1: "25",
  });
});

test("launchFor() rejects a lease on a GPU that the server does not have any more", () => {
  const lease = { gpus: [{ gpuId: "GPU-c", units: 1 }] };
  expect(() => launchFor({ command: ["a"], environment: {} }, lease, GPUS, PLACE)).toThrow(
    new Error('The server does not have GPU "GPU-c" any more'),
  );
});
