import { expect, test } from "bun:test";
import { isLasting, nextOveruse, type Overuse } from "./overuse.ts";

/** Follows a lease that may use 1000 MB. Each reading is a time in s and MB; undefined: the GPU did not answer. Returns when it lasts too long. */
function lastingTimes(readings: readonly (readonly [time: number, usedMb: number | undefined])[]): number[] {
  let overuse: readonly Overuse[] = [];
  return readings.flatMap(([time, usedMb]) => {
    const reading = { leaseId: "a", gpuId: "gpu-0", allowedMb: 1000 };
    overuse = nextOveruse(overuse, usedMb === undefined ? [] : [{ ...reading, usedMb }], time * 1000);
    return overuse.some((each) => isLasting(each, time * 1000)) ? [time] : [];
  });
}

const seconds = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, index) => from + index);

test.each<[string, Parameters<typeof lastingTimes>[0], number[]]>([
  ["all that it may", seconds(0, 30).map((time) => [time, 1000]), []],
  ["too much in one reading", seconds(0, 30).map((time) => [time, time === 7 ? 9000 : 500]), []],
  ["too much for nine seconds", seconds(0, 30).map((time) => [time, time < 10 ? 9000 : 500]), []],
  ["too much for ten seconds", seconds(0, 11).map((time) => [time, 1001]), [10, 11]],
  ["too much, but less once in between", seconds(0, 15).map((time) => [time, time === 8 ? 1000 : 9000]), []],
  ["too much, but its GPU did not answer", seconds(0, 15).map((time) => [time, time === 8 ? undefined : 9000]), []],
  ["too much before and after the driver hung", [0, 20, 40, 41].map((time) => [time, 9000]), []],
  ["too much in many readings of one second", seconds(0, 99).map((time) => [time / 100, 9000]), []],
])("a lease that uses %s", (_, readings, expected) => {
  expect(lastingTimes(readings)).toEqual(expected);
});

test("nextOveruse() tells leases and GPUs apart, and has the newest reading", () => {
  const reading = { leaseId: "a", gpuId: "gpu-0", usedMb: 11, allowedMb: 10 };
  const others = [
    { ...reading, leaseId: "b" },
    { ...reading, gpuId: "gpu-1" },
  ];
  const first = nextOveruse([], [reading], 0);
  expect(nextOveruse(first, [...others, { ...reading, usedMb: 12 }], 5)).toEqual([
    ...others.map((other) => ({ ...other, since: 5, readings: 1 })),
    { ...reading, usedMb: 12, since: 0, readings: 2 },
  ]);
});
