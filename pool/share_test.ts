import { expect, test } from "bun:test";
import fc from "fast-check";
import { formatShare, MAX_AMOUNT, parseShare, percentToFraction, type Share } from "./share.ts";
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
  [{ gpus: 2, memoryMb: 1010 }, 16_000, 14, 7], // 13 if rounded for both together
  [{ gpus: 8, memoryMb: 1 }, 16_000, 8, 1],
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

const amounts = fc.integer({ min: 1, max: MAX_AMOUNT });
const shares: fc.Arbitrary<Share> = fc.oneof(
  fc.record({ gpus: amounts, percent: fc.integer({ min: 1, max: 100 }) }),
  fc.record({ gpus: amounts, memoryMb: amounts }),
);

test("unitsPerGpu() is the smallest number of units that give the memory, on a GPU of any memory", () => {
  fc.assert(
    fc.property(amounts, amounts, (memoryMb, gpuMemoryMb) => {
      const units = BigInt(unitsPerGpu({ gpus: 1, memoryMb }, gpuMemoryMb));
      expect(units * BigInt(gpuMemoryMb) >= BigInt(memoryMb) * 100n).toBe(true);
      expect((units - 1n) * BigInt(gpuMemoryMb) < BigInt(memoryMb) * 100n).toBe(true);
    }),
  );
});

test("unitsOf() counts what the GPUs give together", () => {
  fc.assert(
    fc.property(shares, amounts, (share, memory) => unitsOf(share, memory) === share.gpus * unitsPerGpu(share, memory)),
  );
});

test("unitsPerGpu() is infinite on a GPU without memory, and at least 1 whatever a server reports", () => {
  for (const gpuMemoryMb of [undefined, 0, -1, Number.NaN, Number.POSITIVE_INFINITY]) {
    expect(unitsPerGpu({ gpus: 1, memoryMb: 1 }, gpuMemoryMb)).toBe(Number.POSITIVE_INFINITY);
    expect(unitsPerGpu({ gpus: 1, percent: 7 }, gpuMemoryMb)).toBe(7);
  }
  fc.assert(fc.property(shares, fc.double(), (share, memory) => unitsPerGpu(share, memory) >= 1));
});

test("parseShare() parses the output of formatShare()", () => {
  fc.assert(fc.property(shares, (share) => expect(parseShare(formatShare(share))).toEqual(share)));
});

test("parseShare() accepts nothing but the output of formatShare()", () => {
  const digits = fc.stringMatching(/^\d{0,12}$/);
  const almost = fc
    .tuple(digits, digits, fc.constantFrom("", "mb"))
    .map(([gpus, each, unit]) => `${gpus}x${each}${unit}`);
  fc.assert(
    fc.property(fc.oneof(fc.string(), almost), (text) => {
      const share = parseShare(text);
      if (share) expect(formatShare(share)).toBe(text);
    }),
  );
});

test.each([
  `1x${"9".repeat(310)}mb`,
  `${"9".repeat(310)}x1`,
  "1x0mb",
  "0x50",
  "1x0",
  "1x101",
  "01x50",
  "1x050",
  "1x1000000000mb",
  "1000000000x1",
  "-1x50",
  "1x0.5",
  "1x50mb ",
  "",
])("parseShare() rejects %j", (text) => {
  expect(parseShare(text)).toBeUndefined();
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
