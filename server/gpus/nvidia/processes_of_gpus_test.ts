import { expect, test } from "bun:test";
import { gpuProcesses } from "./processes_of_gpus.ts";

const A = { uuid: "GPU-a", memory: 16_106_127_360, name: "Tesla T4" };

test("gpuProcesses() returns memory in MB, and what a GPU does not tell as undefined", () => {
  const processes = [{ pid: 10, memory: 1_500_400_000, utilization: 30 }];
  const devices = [
    { identity: A, status: 0, processes },
    { identity: { ...A, uuid: "GPU-b" }, status: 0 },
  ];
  expect(gpuProcesses(devices)).toEqual([
    { gpuId: "GPU-a", processes: [{ pid: 10, memoryMb: 1500, utilization: 30 }] },
    { gpuId: "GPU-b", processes: undefined },
  ]);
});

test("gpuProcesses() returns the processes of MIG devices in place of those of the GPU", () => {
  const part = { memory: 1, name: "MIG", gpuInstance: 1, computeInstance: 0 };
  const migDevices = [
    { ...part, uuid: "MIG-1", processes: [{ pid: 10, memory: 2_000_000 }] },
    { ...part, uuid: "MIG-2", processes: [] },
  ];
  expect(gpuProcesses([{ identity: A, status: 0, migDevices }])).toEqual([
    { gpuId: "MIG-1", processes: [{ pid: 10, memoryMb: 2 }] },
    { gpuId: "MIG-2", processes: [] },
  ]);
});

test("gpuProcesses() leaves out GPUs that do not answer", () => {
  expect(gpuProcesses([{ status: 15 }, { identity: A, status: 15 }])).toEqual([]);
});
