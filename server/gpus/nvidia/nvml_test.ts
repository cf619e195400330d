import { afterAll, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ConfigError } from "../../../program/config_error.ts";
import type { NvmlAnswers } from "./answers.ts";
import { openNvml } from "./nvml.ts";
import { buildStandIn, HAS_COMPILER, type StandInState, writeStandIn } from "./testing/nvml_stand_in.ts";

const folder = await mkdtemp(join(tmpdir(), "nvml-"));
afterAll(() => rm(folder, { recursive: true, force: true }));
const state = join(folder, "state");
const library = HAS_COMPILER ? await buildStandIn(folder, state) : "";

const A = { uuid: "GPU-a", memory: 150_754_820_096, name: "NVIDIA H200" };
const B = { uuid: "GPU-b", memory: 16_106_127_360, name: "Tesla T4" };
const answer = (next: StandInState) => writeStandIn(state, next);

test("openNvml() names a library that does not exist, and one that is not NVML", () => {
  expect(() => openNvml("/nowhere/libnvidia-ml.so.1")).toThrow(
    new ConfigError(
      "Cannot load /nowhere/libnvidia-ml.so.1: expected NVIDIA's driver on this machine, and in a container its libraries, as with docker run --gpus all",
    ),
  );
  expect(() => openNvml("libc.so.6")).toThrow(
    new ConfigError("Cannot use libc.so.6: it lacks a function of NVML: expected NVIDIA's driver 510 or later"),
  );
});

/** Tests against the stand-in for NVML, which only a C compiler can make. */
const withStandIn = test.skipIf(!HAS_COMPILER);

withStandIn("openNvml() says in one sentence that the driver is not loaded, or that there is no GPU", async () => {
  await answer({ system: { init: 9 }, gpus: [A] });
  expect(() => openNvml(library)).toThrow(
    new ConfigError("Cannot use the GPUs: nvmlInit_v2 failed: Driver Not Loaded: expected that nvidia-smi works here"),
  );
  await answer({ gpus: [] });
  expect(() => openNvml(library)).toThrow(
    new ConfigError("Cannot use the GPUs: NVML finds none that this program may use"),
  );
  await answer({ gpus: [{ ...A, status: 4 }] }); // NVML_ERROR_NO_PERMISSION, as in a container
  expect(() => openNvml(library)).toThrow(
    new ConfigError("Cannot use the GPUs: NVML finds none that this program may use"),
  );
});

withStandIn("read() returns versions, GPUs, and what an old GPU does not support as absent", async () => {
  const faults = { recovery: 2, remapFailed: 1, retiredPending: 0 };
  await answer({ system: { driver: "550.54.15", cuda: 12_040 }, gpus: [{ ...A, ...faults }, B] });
  using nvml = openNvml(library);
  expect(nvml.read(0)).toEqual<NvmlAnswers>({
    driverVersion: "550.54.15",
    cudaVersion: "12.4",
    devices: [
      { identity: A, status: 0, recoveryAction: 2, rowRemapFailed: true, retiredPagesPending: false },
      { identity: B, status: 0 },
    ],
    xids: [],
  });
});

withStandIn("read() returns the status of a GPU that fails, and of one that failed from the start", async () => {
  await answer({ gpus: [A, { ...B, status: 15 }] });
  using nvml = openNvml(library);
  const failed = { identity: A, status: 16 };
  await answer({ gpus: [{ ...A, status: 16 }, B] });
  expect(nvml.read(0).devices).toEqual([failed, { status: 15 }]);
  await answer({ gpus: [] });
  expect(nvml.read(0).devices).toEqual([{ identity: A, status: 15 }, { status: 15 }]);
});

withStandIn("read() returns MIG devices, and none where there is none", async () => {
  const first = { uuid: "MIG-1", memory: 17_179_869_184, name: "NVIDIA H200 MIG 1g.18gb" };
  const second = { ...first, uuid: "MIG-2" };
  const migDevices = [
    { ...first, gi: 7, ci: 0 },
    { ...second, gi: 8, ci: 1 },
  ];
  await answer({
    gpus: [
      { ...A, migDevices },
      { ...B, migDevices: [] },
    ],
  });
  using nvml = openNvml(library);
  expect(nvml.read(0).devices).toEqual([
    {
      identity: A,
      status: 0,
      migDevices: [
        { ...first, gpuInstance: 7, computeInstance: 0 },
        { ...second, gpuInstance: 8, computeInstance: 1 },
      ],
    },
    { identity: B, status: 0, migDevices: [] },
  ]);
});

withStandIn(
  "read() returns the processes of a GPU, with all of the memory and the newest utilization of each",
  async () => {
    const first = [
      { pid: 10, memory: 900_000_000, utilization: 30, at: 1000 },
      { pid: 10, memory: 900_000_000, utilization: 70, at: 2000 },
      { pid: 11, memory: 5_000_000_000, utilization: 250, at: 1500 },
      { pid: 11, memory: 4_000_000_000, graphics: 1 },
      { pid: 12, memory: 100_000_000, graphics: 1 },
    ];
    await answer({ gpus: [{ ...A, processes: first }, B] });
    using nvml = openNvml(library);
    expect(nvml.read(0).devices).toEqual([
      {
        identity: A,
        status: 0,
        processes: [
          { pid: 10, memory: 900_000_000, utilization: 70 },
          { pid: 11, memory: 5_000_000_000, utilization: 100 },
          { pid: 12, memory: 100_000_000, utilization: 0 },
        ],
      },
      { identity: B, status: 0 },
    ]);
    const { processes } = nvml.read(0).devices[0] ?? {};
    expect(processes?.map(({ utilization }) => utilization)).toEqual([0, 0, 0]); // idle since the last reading
  },
);

withStandIn("read() returns more processes than it has room for at first", async () => {
  const processes = Array.from({ length: 5000 }, (_, pid) => ({ pid, memory: 1_000_000, utilization: 1 }));
  await answer({ gpus: [{ ...A, processes }] });
  using nvml = openNvml(library);
  expect(nvml.read(0).devices[0]?.processes).toEqual(processes);
});

withStandIn("read() returns no processes of a GPU if their memory is not available", async () => {
  await answer({ gpus: [{ ...A, processes: [{ pid: 10, memory: 2n ** 64n - 1n }] }] });
  using nvml = openNvml(library);
  expect(nvml.read(0).devices).toEqual([{ identity: A, status: 0 }]);
});

withStandIn("read() returns the processes of each MIG device", async () => {
  const mig = { memory: 17_179_869_184, name: "NVIDIA H200 MIG 1g.18gb", ci: 0 };
  const migDevices = [
    { ...mig, uuid: "MIG-1", gi: 7, processes: [{ pid: 10, memory: 1_000_000, utilization: 5 }] },
    { ...mig, uuid: "MIG-2", gi: 8, processes: [] },
  ];
  await answer({ gpus: [{ ...A, processes: [{ pid: 10, memory: 1_000_000 }], migDevices }] });
  using nvml = openNvml(library);
  const [device] = nvml.read(0).devices;
  expect(device?.processes).toBeUndefined();
  expect(device?.migDevices?.map(({ processes }) => processes)).toEqual([[{ pid: 10, memory: 1_000_000 }], []]);
});

withStandIn("read() returns each Xid error once, with its GPU and MIG device, and none from before", async () => {
  const xids = [{ gpu: 0, number: 63 }];
  await answer({ gpus: [A, B], xids });
  using nvml = openNvml(library);
  expect(nvml.read(0).xids).toEqual([]);
  xids.push({ gpu: 1, number: 79 }, { gpu: 0, number: 94, gi: 7, ci: 0 } as never);
  await answer({ gpus: [A, B], xids });
  expect(nvml.read(0).xids).toEqual([
    { uuid: "GPU-b", xid: 79 },
    { uuid: "GPU-a", xid: 94, instance: { gpuInstance: 7, computeInstance: 0 } },
  ]);
  expect(nvml.read(0).xids).toEqual([]);
});
