import { afterAll, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { createLatest } from "../../../program/latest.ts";
import { bundle, createRecordingLog } from "../../../program/testing.ts";
import type { ServerGpu } from "../gpu.ts";
import { openNvidiaGpus } from "./nvidia_source.ts";
import { READ_GPUS } from "./reader.ts";
import { buildStandIn, HAS_COMPILER, type StandInState, writeStandIn } from "./testing/nvml_stand_in.ts";

setDefaultTimeout(60_000); // on a small machine, processes start slowly

const root = await mkdtemp(join(tmpdir(), "nvidia-"));
afterAll(() => rm(root, { recursive: true, force: true }));
const PROGRAM = [process.execPath, await bundle("server/main.ts")];
const A = { uuid: "GPU-a", memory: 16_106_127_360, name: "Tesla T4" };
const B = { ...A, uuid: "GPU-b" };

/** Opens the GPUs of a stand-in of its own. */
async function open(initial: StandInState, silence?: number) {
  const folder = await mkdtemp(join(root, "stand-in-"));
  const state = join(folder, "state");
  await writeStandIn(state, initial);
  const reader = [...PROGRAM, READ_GPUS, await buildStandIn(folder, state)];
  const lines: string[] = [];
  const log = createRecordingLog(lines);
  const source = await openNvidiaGpus({ reader, log, ...(silence === undefined ? {} : { silence }) });
  const current = createLatest<readonly ServerGpu[]>();
  source.onChange(current.set);
  return {
    facts: source.facts,
    lines,
    answer: (next: StandInState) => writeStandIn(state, next),
    /** Waits until the GPUs have these problems. */
    async until(problems: Readonly<Record<string, string | undefined>>) {
      for await (const gpus of current.changes(AbortSignal.timeout(20_000))) {
        if (isDeepStrictEqual(Object.fromEntries(gpus.map(({ id, problem }) => [id, problem])), problems)) return;
      }
      throw new Error(`Never ${JSON.stringify(problems)}: ${JSON.stringify(current.current)}`);
    },
    [Symbol.asyncDispose]: () => source[Symbol.asyncDispose](),
  };
}

test("openNvidiaGpus() fails with the reader's sentence", async () => {
  const reader = [...PROGRAM, READ_GPUS, "/nowhere/libnvidia-ml.so.1"];
  const opened = openNvidiaGpus({ reader, log: createRecordingLog([]) });
  expect(await opened.then(String, String)).toStartWith(
    "ConfigError: Cannot load /nowhere/libnvidia-ml.so.1: expected",
  );
});

/** Tests against the stand-in for NVML, which only a C compiler can make. */
const withStandIn = test.skipIf(!HAS_COMPILER).concurrent;

withStandIn("the GPUs follow NVML's answers", async () => {
  await using source = await open({ system: { driver: "550.54.15", cuda: 12_040 }, gpus: [A, B] });
  expect(source.facts).toEqual({ cudaVersion: "12.4", driverVersion: "550.54.15" });
  await source.until({ "GPU-a": undefined, "GPU-b": undefined });
  await source.answer({ gpus: [A, B], xids: [{ gpu: 0, number: 79 }] });
  await source.until({ "GPU-a": "xid-79", "GPU-b": undefined });
  await source.answer({
    gpus: [
      { ...A, status: 15 },
      { ...B, recovery: 1 },
    ],
    xids: [{ gpu: 0, number: 79 }],
  });
  await source.until({ "GPU-a": "xid-79", "GPU-b": "reset-required" });
  await source.answer({ gpus: [A, B] });
  await source.until({ "GPU-a": undefined, "GPU-b": undefined });
});

withStandIn("a GPU that NVML could not identify at first is found when it answers", async () => {
  await using source = await open({ gpus: [{ ...A, status: 15 }, B] });
  await source.until({ "GPU-b": undefined });
  await source.answer({ gpus: [A, B] });
  await source.until({ "GPU-a": undefined, "GPU-b": undefined });
});

withStandIn("all GPUs are unhealthy while NVML fails, and healthy when it works again", async () => {
  await using source = await open({ gpus: [A] });
  await source.answer({ system: { wait: 999, init: 9 }, gpus: [A] });
  await source.until({ "GPU-a": "nvml-failed" });
  await source.answer({ gpus: [A] });
  await source.until({ "GPU-a": undefined });
  expect(source.lines).toContain("Cannot read the GPUs: nvmlEventSetWait_v2 failed: Unknown Error");
});

withStandIn("all GPUs are unhealthy while the driver hangs, and only then", async () => {
  await using source = await open({ gpus: [A] }, 6000);
  for (let second = 0; second < 7; second += 1) {
    await source.answer({ gpus: [{ ...A, recovery: second % 2 }] });
    await source.until({ "GPU-a": second % 2 === 0 ? undefined : "reset-required" });
  }
  expect(source.lines.filter((line) => line.startsWith("Cannot"))).toEqual([]);
  await source.answer({ system: { hangs: 1 }, gpus: [A] });
  await source.until({ "GPU-a": "nvml-failed" });
  expect(source.lines).toContain("Cannot read the GPUs: NVML has not answered for 6 s");
  await source.answer({ gpus: [A] });
  await source.until({ "GPU-a": undefined });
});

withStandIn("the reader ends with its server", async () => {
  const folder = await mkdtemp(join(root, "stand-in-"));
  const state = join(folder, "state");
  await writeStandIn(state, { gpus: [A] });
  const answered = Promise.withResolvers<void>();
  await using reader = Bun.spawn([...PROGRAM, READ_GPUS, await buildStandIn(folder, state)], {
    stdio: ["ignore", "inherit", "inherit"],
    ipc: () => answered.resolve(),
  });
  await answered.promise;
  reader.disconnect(); // as when the server is killed
  expect(await reader.exited).toBe(0);
});
