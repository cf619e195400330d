import { expect, test } from "bun:test";
import type { NvmlDevice, NvmlXid } from "./answers.ts";
import { type NvidiaGpu, nextGpus, unansweredGpus } from "./health.ts";

const MINUTE = 60_000;
const NAME = "NVIDIA H200";

function identityOf(uuid: string, name = NAME) {
  return { uuid, name, memory: 150_754_820_096 };
}

function device(uuid: string, fields: Partial<NvmlDevice> = {}): NvmlDevice {
  return { identity: identityOf(uuid), status: 0, recoveryAction: 0, ...fields };
}

/** The GPUs after these answers, one a second. */
function after(...answers: (Partial<{ devices: NvmlDevice[]; xids: NvmlXid[] }> & { seconds?: number })[]) {
  let now = 0;
  let gpus: readonly NvidiaGpu[] = [];
  for (const { devices = [device("GPU-a")], xids = [], seconds = 1 } of answers) {
    now += seconds * 1000;
    gpus = nextGpus(gpus, { devices, xids }, now);
  }
  return gpus;
}

/** Why each GPU is unhealthy, by id. */
function problems(gpus: readonly NvidiaGpu[]): Record<string, string | undefined> {
  for (const { healthy, problem } of gpus) expect(healthy).toBe(problem === undefined);
  return Object.fromEntries(gpus.map(({ id, problem }) => [id, problem]));
}

const xid = (number: number, instance?: NvmlXid["instance"]): NvmlXid => {
  return { uuid: "GPU-a", xid: number, ...(instance ? { instance } : {}) };
};

test("nextGpus() returns GPUs with their UUID, model and memory", () => {
  expect(after({ devices: [device("GPU-a"), device("GPU-b")] })).toMatchObject([
    { number: 0, id: "GPU-a", model: NAME, memoryMb: 150_754, healthy: true },
    { number: 1, id: "GPU-b", model: NAME, memoryMb: 150_754, healthy: true },
  ]);
});

test.each<[string, Partial<NvmlDevice>, string]>([
  ["has fallen off the bus", { status: 15 }, "gpu-lost"],
  ["must be reset before it answers", { status: 16 }, "reset-required"],
  ["has no power", { status: 8 }, "insufficient-power"],
  ["fails in another way", { status: 999 }, "nvml-error-999"],
  ["must be reset, as the driver says", { recoveryAction: 1 }, "reset-required"],
  ["needs a reboot, as the driver says", { recoveryAction: 2 }, "reboot-required"],
  ["needs something that this version does not know", { recoveryAction: 9 }, "recovery-action-9"],
  ["has memory that could not be remapped", { rowRemapFailed: true }, "row-remap-failed"],
  ["has memory pages that are retired only at a reset", { retiredPagesPending: true }, "retired-pages-pending"],
])("a GPU that %s is unhealthy while it is so", (_, fields, problem) => {
  const failing = { devices: [device("GPU-a", fields), device("GPU-b")] };
  const healthy = { devices: [device("GPU-a"), device("GPU-b")] };
  expect(problems(after(healthy, failing))).toEqual({ "GPU-a": problem, "GPU-b": undefined });
  expect(problems(after(failing))).toEqual({ "GPU-a": problem, "GPU-b": undefined });
  expect(problems(after(healthy, failing, healthy))).toEqual({ "GPU-a": undefined, "GPU-b": undefined });
});

test("memory faults that the driver handles do not make a GPU unhealthy", () => {
  const fields = { rowRemapFailed: false, retiredPagesPending: false };
  expect(problems(after({ devices: [device("GPU-a", fields)] }))).toEqual({ "GPU-a": undefined });
});

test("an Xid error makes its GPU unhealthy, and the first one is the reason", () => {
  const devices = [device("GPU-a"), device("GPU-b")];
  const gpus = after({ devices }, { devices, xids: [xid(48)] }, { devices, xids: [xid(63), xid(154)] });
  expect(problems(gpus)).toEqual({ "GPU-a": "xid-48", "GPU-b": undefined });
});

test.each([13, 31, 43, 45, 68, 109])("Xid %d, which applications cause, leaves a GPU healthy", (number) => {
  expect(problems(after({ xids: [xid(number)] }))).toEqual({ "GPU-a": undefined });
});

test("an application's Xid beside another is not the reason", () => {
  expect(problems(after({ xids: [xid(31), xid(62)] }))).toEqual({ "GPU-a": "xid-62" });
});

test("a GPU is healthy a minute after its last Xid error, if the driver says that nothing must be done", () => {
  expect(problems(after({ xids: [xid(94)] }, { seconds: 59 }))).toEqual({ "GPU-a": "xid-94" });
  expect(problems(after({ xids: [xid(94)] }, { seconds: 60 }))).toEqual({ "GPU-a": undefined });
  const repeated = [{ xids: [xid(94)] }, { seconds: 59, xids: [xid(95)] }, { seconds: 59 }];
  expect(problems(after(...repeated))).toEqual({ "GPU-a": "xid-94" });
});

test("a GPU with an Xid error stays unhealthy while the driver says that it must be reset", () => {
  const devices = [device("GPU-a", { recoveryAction: 1 })];
  const failing = [
    { devices, xids: [xid(95)] },
    { devices, seconds: 3600 },
  ];
  expect(problems(after(...failing))).toEqual({ "GPU-a": "xid-95" });
  expect(problems(after(...failing, {}))).toEqual({ "GPU-a": undefined });
});

test("with a driver that does not say what must be done, a GPU with an Xid error is healthy only after it was away", () => {
  const { recoveryAction: _, ...old } = device("GPU-a");
  const failing = [
    { devices: [old], xids: [xid(79)] },
    { devices: [old], seconds: 3600 },
  ];
  expect(problems(after(...failing))).toEqual({ "GPU-a": "xid-79" });
  const away = { devices: [device("GPU-a", { status: 15 })] };
  expect(problems(after(...failing, away))).toEqual({ "GPU-a": "xid-79" });
  expect(problems(after(...failing, away, { devices: [old] }))).toEqual({ "GPU-a": undefined });
  const notYet = { devices: [device("GPU-a", { recoveryAction: 1 })] };
  expect(problems(after(...failing, away, notYet))).toEqual({ "GPU-a": "xid-79" });
});

test("a GPU that NVML does not list any more, or cannot identify, stays, keeps its number, and is healthy when it is back", () => {
  const both = { devices: [device("GPU-a"), device("GPU-b")] };
  for (const devices of [[device("GPU-b")], [{ status: 15 }, device("GPU-b")]]) {
    expect(problems(after(both, { devices }))).toEqual({ "GPU-a": "gpu-lost", "GPU-b": undefined });
    const back = after(both, { devices }, { devices: [device("GPU-b"), device("GPU-a")] });
    expect(back).toMatchObject([
      { number: 0, id: "GPU-a", healthy: true },
      { number: 1, id: "GPU-b", healthy: true },
    ]);
  }
});

test("a GPU that could never be identified is not listed", () => {
  expect(problems(after({ devices: [{ status: 15 }, device("GPU-b")] }))).toEqual({ "GPU-b": undefined });
});

const mig = (uuid: string, gpuInstance: number) => ({ ...identityOf(uuid, "MIG"), gpuInstance, computeInstance: 0 });
const partitioned = (...uuids: [string, number][]) => {
  return { devices: [device("GPU-a", { migDevices: uuids.map(([uuid, instance]) => mig(uuid, instance)) })] };
};

test("a partitioned GPU is its MIG devices, which go when they are removed", () => {
  const two = partitioned(["MIG-1", 1], ["MIG-2", 2]);
  expect(problems(after({}, two))).toEqual({ "MIG-1": undefined, "MIG-2": undefined });
  expect(problems(after(two, partitioned(["MIG-2", 2])))).toEqual({ "MIG-2": undefined });
  expect(problems(after(two, {}))).toEqual({ "GPU-a": undefined });
});

test("an Xid error of one MIG device leaves the others healthy, and one of the GPU does not", () => {
  const two = partitioned(["MIG-1", 1], ["MIG-2", 2]);
  const one = xid(94, { gpuInstance: 2, computeInstance: 0 });
  expect(problems(after({ ...two, xids: [one] }))).toEqual({ "MIG-1": undefined, "MIG-2": "xid-94" });
  expect(problems(after({ ...two, xids: [xid(48)] }))).toEqual({ "MIG-1": "xid-48", "MIG-2": "xid-48" });
});

test("the MIG devices of a GPU that is lost stay, unhealthy", () => {
  const two = partitioned(["MIG-1", 1], ["MIG-2", 2]);
  const lost = { "MIG-1": "gpu-lost", "MIG-2": "gpu-lost" };
  expect(problems(after(two, { devices: [device("GPU-a", { status: 15 })] }))).toEqual(lost);
  expect(problems(after(two, { devices: [] }))).toEqual(lost);
});

test("while NVML does not answer, all GPUs are unhealthy, and the reason that one had before stays", () => {
  const devices = [device("GPU-a"), device("GPU-b")];
  const gpus = unansweredGpus(after({ devices, xids: [xid(48)] }));
  expect(problems(gpus)).toEqual({ "GPU-a": "xid-48", "GPU-b": "nvml-failed" });
  expect(problems(nextGpus(gpus, { devices, xids: [] }, MINUTE))).toEqual({ "GPU-a": "xid-48", "GPU-b": undefined });
});
