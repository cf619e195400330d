import { expect, test } from "bun:test";
import { usesOfLeases } from "./lease_use.ts";

const A = { id: "a", gpus: [{ gpuId: "gpu-0", units: 50 }] };
const B = { id: "b", gpus: [0, 1].map((index) => ({ gpuId: `gpu-${index}`, units: 50 })) };

/** The processes 1 to 9 are those of A, 11 to 19 those of B, and others are no lease's. */
const leaseOf = (pid: number) => (pid < 10 ? "a" : pid < 20 ? "b" : undefined);
const usesOf = (gpus: Parameters<typeof usesOfLeases>[1]) => Object.fromEntries(usesOfLeases([A, B], gpus, leaseOf));

test("usesOfLeases() adds the processes of each lease, and leaves out those of others", () => {
  const first = [
    { pid: 1, memoryMb: 1000, utilization: 30 },
    { pid: 2, memoryMb: 500, utilization: 20 },
    { pid: 11, memoryMb: 7000, utilization: 10 },
    { pid: 99, memoryMb: 4000, utilization: 40 },
  ];
  const gpus = [
    { gpuId: "gpu-0", processes: first },
    { gpuId: "gpu-1", processes: [{ pid: 12, memoryMb: 300, utilization: 0 }] },
  ];
  expect(usesOf(gpus)).toEqual({
    a: [{ gpuId: "gpu-0", memoryMb: 1500, utilization: 50 }],
    b: [
      { gpuId: "gpu-0", memoryMb: 7000, utilization: 10 },
      { gpuId: "gpu-1", memoryMb: 300, utilization: 0 },
    ],
  });
});

test("usesOfLeases() returns 0 for a GPU that a lease does not use, and nothing for one that does not tell its processes", () => {
  const gpus = [{ gpuId: "gpu-0", processes: [] }, { gpuId: "gpu-1" }];
  const unused = { gpuId: "gpu-0", memoryMb: 0, utilization: 0 };
  expect(usesOf(gpus)).toEqual({ a: [unused], b: [unused] });
});

test("usesOfLeases() returns what a lease uses of a GPU that it does not have", () => {
  const { a } = usesOf([{ gpuId: "gpu-1", processes: [{ pid: 1, memoryMb: 200 }] }]);
  expect(a).toEqual([{ gpuId: "gpu-1", memoryMb: 200 }]);
});

test("usesOfLeases() returns at most 100 percent, and no utilization if one of the processes does not tell it", () => {
  const [busy, silent] = [{ memoryMb: 1, utilization: 70 }, { memoryMb: 1 }];
  const processes = [
    { pid: 1, ...busy },
    { pid: 2, ...busy },
    { pid: 11, ...busy },
    { pid: 12, ...silent },
  ];
  const { a, b } = usesOf([{ gpuId: "gpu-0", processes }]);
  expect(a).toEqual([{ gpuId: "gpu-0", memoryMb: 2, utilization: 100 }]);
  expect(b).toEqual([{ gpuId: "gpu-0", memoryMb: 2 }]);
});
