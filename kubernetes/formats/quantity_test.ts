import { expect, test } from "bun:test";
import fc from "fast-check";
import { ONE, parseInteger, parseQuantity, toInteger } from "./quantity.ts";

test.each<[value: string | number, nanos: bigint]>([
  [1, ONE],
  ["1", ONE],
  [0, 0n],
  ["+1", ONE],
  ["007", 7n * ONE],
  [0.5, ONE / 2n],
  ["0.5", ONE / 2n],
  [".5", ONE / 2n],
  ["5.", 5n * ONE],
  ["1e2", 100n * ONE],
  ["1E2", 100n * ONE],
  ["1.5e+3", 1500n * ONE],
  ["25e-1", 25n * (ONE / 10n)],
  [1e21, 10n ** 21n * ONE],
  [1e-7, 100n],
  ["1n", 1n],
  ["1u", 1000n],
  ["500m", ONE / 2n],
  ["1k", 1000n * ONE],
  ["1M", 10n ** 6n * ONE],
  ["1.5G", 15n * 10n ** 8n * ONE],
  ["1T", 10n ** 12n * ONE],
  ["1P", 10n ** 15n * ONE],
  ["1E", 10n ** 18n * ONE],
  ["1Ki", 1024n * ONE],
  ["0.5Mi", (ONE * 1024n * 1024n) / 2n],
  ["16Gi", 16n * 2n ** 30n * ONE],
  ["1Ti", 2n ** 40n * ONE],
  ["1Pi", 2n ** 50n * ONE],
  ["1Ei", 2n ** 60n * ONE],
  ["-1", -ONE],
  ["-500m", -ONE / 2n],
  ["-0", 0n],
])("parseQuantity() parses %p as %p billionths", (value, nanos) => {
  expect(parseQuantity(value)).toBe(nanos);
});

test.each<[value: string, nanos: bigint]>([
  ["0.1n", 1n],
  ["1.0000000001", ONE + 1n],
  ["0.0000000011", 2n],
  ["1e-10", 1n],
  ["-0.1n", -1n], // away from zero, as Kubernetes does
])("parseQuantity() rounds %p up to a billionth", (value, nanos) => {
  expect(parseQuantity(value)).toBe(nanos);
});

test.each([
  "",
  ".",
  "-",
  "1x",
  "1e",
  "1e2.5",
  "1e2m",
  "0x1",
  " 1",
  "1 ",
  "1\n",
  "1ki",
  "1K",
  "1Mib",
  "--1",
  "1.2.3",
  "1,5",
  "NaN",
  "Infinity",
  "1e999",
  "１",
])("parseQuantity() rejects %j, quotes it and states what is expected", (value) => {
  expect(() => parseQuantity(value)).toThrow(
    new SyntaxError(`Cannot parse quantity "${value}": expected a number, such as 1, 500m, 1e2 or 16Gi`),
  );
});

test("parseQuantity() rejects NaN and Infinity given as numbers", () => {
  expect(() => parseQuantity(Number.NaN)).toThrow('Cannot parse quantity "NaN"');
  expect(() => parseQuantity(Number.POSITIVE_INFINITY)).toThrow('Cannot parse quantity "Infinity"');
});

test("parseQuantity() multiplies whole numbers by any suffix that is at least 1", () => {
  const factors = { "": 1n, k: 1000n, M: 1000n ** 2n, G: 1000n ** 3n, T: 1000n ** 4n, P: 1000n ** 5n, E: 1000n ** 6n };
  const binary = { Ki: 1024n, Mi: 1024n ** 2n, Gi: 1024n ** 3n, Ti: 1024n ** 4n, Pi: 1024n ** 5n, Ei: 1024n ** 6n };
  const suffix = fc.constantFrom(...Object.entries({ ...factors, ...binary }));
  fc.assert(
    fc.property(fc.bigInt({ min: -(10n ** 20n), max: 10n ** 20n }), suffix, (whole, [name, factor]) => {
      expect(parseQuantity(`${whole}${name}`)).toBe(whole * factor * ONE);
    }),
  );
});

test("parseQuantity() parses numbers as JavaScript formats them", () => {
  fc.assert(
    fc.property(fc.integer({ min: -1_000_000, max: 1_000_000 }), (thousandths) => {
      expect(parseQuantity(thousandths / 1000)).toBe(BigInt(thousandths) * (ONE / 1000n));
    }),
  );
});

test.each<[string, number | undefined]>([
  ["0", 0],
  ["100", 100],
  ["1e2", 100],
  ["1000m", 1],
  ["-3", -3],
  ["500m", undefined],
  ["0.1n", undefined],
  ["9007199254740991", 9007199254740991],
  ["9007199254740993", undefined],
  ["1E", undefined],
])("toInteger() and parseInteger() convert %p to %p", (text, expected) => {
  expect(toInteger(parseQuantity(text))).toBe(expected as number);
  expect(parseInteger(text)).toBe(expected as number);
});

test.each(["", "x", "1GB"])("parseInteger() returns undefined for %p, which is not a quantity", (text) => {
  expect(parseInteger(text)).toBeUndefined();
});
