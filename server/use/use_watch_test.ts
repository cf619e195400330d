import { expect, test } from "bun:test";
import { createRecordingLog } from "../../program/testing.ts";
import type { GpuProcess } from "../gpus/gpu_source.ts";
import { simulatedGpus } from "../gpus/simulated.ts";
import { createLedger, type Lease } from "../leases/ledger.ts";
import { TEST_HOLDER } from "../testing.ts";
import { createUseWatch } from "./use_watch.ts";

/** A watch over two GPUs of 16,000 MB, and leases whose processes have their ids as pids. */
function startWatch() {
  const gpus = simulatedGpus({ count: 2, memory: 16_000, model: "T4" }, "gpu");
  let ids = 0;
  const ledger = createLedger({
    gpus: () => gpus,
    timeToLive: () => 60_000,
    newId: () => String(++ids),
    newSecret: () => "secret",
  });
  const ended: [lease: string, reason: string][] = [];
  const lines: string[] = [];
  const used: [lease: string, gpuSeconds: number][] = [];
  const watch = createUseWatch({
    ledger,
    gpus: () => gpus,
    leaseOf: String,
    toleranceMb: 500,
    onUse: ({ id }, gpuSeconds) => used.push([id, gpuSeconds]),
    end: ({ id }, reason) => ended.push([id, reason]),
    log: createRecordingLog(lines),
  });
  let time = 0;
  const reading = (processes: readonly GpuProcess[] | undefined, index: number) => {
    return { gpuId: `gpu/${index}`, processes };
  };
  return {
    ledger,
    watch,
    ended,
    lines,
    used,
    claim(percent: number): Lease {
      const owner = { namespace: "default", pod: "a", container: "main" };
      const result = ledger.claim({ holder: TEST_HOLDER, owner, share: { gpus: 1, percent } });
      if ("lease" in result) return result.lease;
      throw new Error("The ledger refuses");
    },
    /** Takes a reading in each of so many seconds. */
    read(seconds: number, ...processes: (readonly GpuProcess[] | undefined)[]) {
      for (let second = 0; second < seconds; second++) {
        time += 1000;
        watch.read(processes.map(reading), time);
      }
    },
  };
}

test("the process of a lease that keeps more memory than its share and the tolerance is ended, once, and told why", () => {
  const { claim, read, ended } = startWatch();
  const [a, b] = [claim(50), claim(30)];
  const processes = [
    { pid: Number(a.id), memoryMb: 8501 },
    { pid: Number(b.id), memoryMb: 5300 },
  ];
  read(10, processes);
  expect(ended).toEqual([]);
  read(5, processes);
  expect(ended).toEqual([[a.id, "The process used 8501 MB of gpu/0 for 10 s: the lease has 8000 MB"]]);
  read(7, processes); // it does not end
  expect(ended.map(([lease]) => lease)).toEqual([a.id, a.id]);
});

test("a lease that uses too much of two GPUs is ended once", () => {
  const { ledger, read, ended } = startWatch();
  const owner = { namespace: "", pod: "", container: "" };
  ledger.claim({ holder: TEST_HOLDER, owner, share: { gpus: 2, percent: 10 } });
  const processes = [{ pid: 1, memoryMb: 9000 }];
  read(11, processes, processes);
  expect(ended.map(([lease]) => lease)).toEqual(["1"]);
});

test("the process of a lease that uses a GPU that it does not have is ended", () => {
  const { claim, read, ended } = startWatch();
  const { id } = claim(100);
  read(11, [], [{ pid: Number(id), memoryMb: 100 }]);
  expect(ended).toEqual([[id, "The process used 100 MB of gpu/1 for 10 s: the lease has 0 MB"]]);
});

test("a GPU that does not tell its processes is logged once, and ends nothing", () => {
  const { claim, read, watch, ended, lines } = startWatch();
  const { id } = claim(50);
  read(20, undefined, [{ pid: 99, memoryMb: 16_000 }]);
  expect(ended).toEqual([]);
  expect(watch.usesOf(id)).toEqual([]);
  expect(lines).toEqual([expect.stringContaining("shares of its memory are not enforced")]);
});

test("nothing is known of a lease's use while the GPUs are not read", () => {
  const { claim, read, watch } = startWatch();
  const { id } = claim(50);
  const { pid, ...use } = { pid: Number(id), memoryMb: 100, utilization: 7 };
  read(1, [{ pid, ...use }]);
  expect(watch.usesOf(id)).toEqual([{ gpuId: "gpu/0", ...use }]);
  read(1);
  expect(watch.usesOf(id)).toEqual([]);
});

test("each reading tells how long a lease has used its GPUs since the last one", () => {
  const { claim, read, used } = startWatch();
  const { id } = claim(50);
  const pid = Number(id);
  read(2, [{ pid, memoryMb: 100, utilization: 40 }]);
  read(1, [{ pid, memoryMb: 100 }]); // the GPU does not tell it
  expect(used).toEqual([0, 0.4, 0].map((gpuSeconds) => [id, gpuSeconds]));
});
