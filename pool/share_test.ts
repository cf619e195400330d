import { expect, test } from "bun:test";
import { percentToFraction, type Share } from "./share.ts";
import { unitsOf, unitsPerGpu } from "./units.ts";

test.each<[Share, number, number, number]>([
  [{ gpus: 1, percent: 1 }, 16_000, 1, 1],
  [{ gpus: 1, percent: 50 }, 16_000, 50, 50],
  [{ gpus: 2, percent: 100 }, 16_000, 200, 100],
  [{ gpus: 3, percent: 7 }, 0, 21, 7],
  [{ gpus: 1, memoryMb: 1120 }, 16_000, 7, 7],
  [{ gpus: 1, memoryMb: 4480 }, 16_000, 28, 28],
  [{ gpus: 1, memoryMb: 8800 }, 16_000, 55, 55],
  [{ gpus: 4, memoryMb: 8800 }, 16_000, 220, 55],
  [{ gpus: 1, memoryMb: 1 }, 16_000, 1, 1],
  [{ gpus: 1, memoryMb: 160 }, 16_000, 1, 1],
  [{ gpus: 1, memoryMb: 161 }, 16_000, 2, 2],
  [{ gpus: 1, memoryMb: 16_000 }, 16_000, 100, 100],
  [{ gpus: 1, memoryMb: 16_001 }, 16_000, 101, 101],
])("unitsOf() and unitsPerGpu() of %j on GPUs of %d MB are %d and %d", (share, gpuMemoryMb, units, percent) => {
  expect([unitsOf(share, gpuMemoryMb), unitsPerGpu(share, gpuMemoryMb)]).toEqual([units, percent]);
});

test("unitsOf() n percent of a GPU's memory is n, for every n", () => {
  const percents = Array.from({ length: 100 }, (_, index) => index + 1);
  expect(percents.map((percent) => unitsOf({ gpus: 1, memoryMb: percent * 160 }, 16_000))).toEqual(percents);
});

test.each([
  [50, "0.5"],
  [100, "1"],
  [7, "0.07"],
  [1, "0.01"],
  [29, "0.29"],
])("percentToFraction() formats %d as %s", (percent, fraction) => {
  expect(percentToFraction(percent)).toBe(fraction);
});

test("percentToFraction() is short and exact for 1 to 100", () => {
  for (let percent = 1; percent <= 100; percent += 1) {
    const fraction = percentToFraction(percent);
    expect(fraction).toMatch(/^(1|0\.\d\d?)$/);
    expect(Math.round(Number(fraction) * 100)).toBe(percent);
  }
});
