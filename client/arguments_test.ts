import { expect, test } from "bun:test";
import { InvalidArgumentError } from "commander";
import { collectFilter, parseCount, parseFraction, parseTimeout, shareOf } from "./arguments.ts";

test.each([
  ["1", 100],
  ["1.0", 100],
  ["0.5", 50],
  ["0.50", 50],
  [".5", 50],
  ["0.01", 1],
  ["0.07", 7],
  ["0.29", 29],
  ["0.57", 57],
  ["0.58", 58],
  ["00.1", 10],
])("parseFraction() converts %s to %d percent", (text, percent) => {
  expect(parseFraction(text)).toBe(percent);
});

test("parseFraction() accepts every multiple of 0.01", () => {
  for (let percent = 1; percent <= 100; percent += 1) {
    expect(parseFraction((percent / 100).toFixed(2))).toBe(percent);
  }
});

test.each([
  "0",
  "0.0",
  "1.5",
  "1.01",
  "0.005",
  "0.295",
  "-0.5",
  "abc",
  "50%",
  "1e-1",
  "0x1",
  "",
  " ",
  "Infinity",
  "1.",
])("parseFraction() rejects %j", (text) => {
  expect(() => parseFraction(text)).toThrow(
    new InvalidArgumentError("Expected a fraction from 0.01 to 1 in steps of 0.01."),
  );
});

test.each([
  ["1", 1],
  ["16000", 16_000],
  ["999999999", 999_999_999],
])("parseCount() parses %s to %d", (text, count) => {
  expect(parseCount(text)).toBe(count);
});

test.each(["0", "01", "-1", "1.5", "1e3", "1k", "", "1000000000"])("parseCount() rejects %j", (text) => {
  expect(() => parseCount(text)).toThrow(new InvalidArgumentError("Expected a whole number of at least 1."));
});

test.each([
  ["0", 0],
  ["0.1", 100],
  ["600", 600_000],
  ["2147483", 2_147_483_000],
])("parseTimeout() parses %s seconds to %d ms", (text, ms) => {
  expect(parseTimeout(text)).toBe(ms);
});

test.each(["", "x", "-1", "1e3", ".5", "2147484", "9".repeat(400)])("parseTimeout() rejects %j", (text) => {
  expect(() => parseTimeout(text)).toThrow(new InvalidArgumentError("Expected a number of seconds from 0 to 2147483."));
});

test("collectFilter() appends to the previous filters, and accepts equals signs in the value", () => {
  const first = collectFilter("device.name=Tesla T4", []);
  expect(collectFilter("device.id=a=b", first)).toEqual([
    { key: "device.name", value: "Tesla T4" },
    { key: "device.id", value: "a=b" },
  ]);
  expect(first).toHaveLength(1);
});

test.each(["device.nam=x", "device.name", "device.name=", "=x", "", " device.name=x"])(
  "collectFilter() rejects %j and lists the keys",
  (text) => {
    expect(() => collectFilter(text, [])).toThrow(
      /^Expected key=value with one of the keys server\.addr, .*device\.id/,
    );
  },
);

test("shareOf() returns a share by memory, by percent, or of whole GPUs", () => {
  expect(shareOf({ n: 2, m: 1120 })).toEqual({ gpus: 2, memoryMb: 1120 });
  expect(shareOf({ n: 2, p: 50 })).toEqual({ gpus: 2, percent: 50 });
  expect(shareOf({ n: 2 })).toEqual({ gpus: 2, percent: 100 });
});
