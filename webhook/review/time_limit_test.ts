import { expect, test } from "bun:test";
import { timeLimitOf } from "./time_limit.ts";

test.each([
  ["5s", 4500],
  ["10s", 9000],
  ["1.5s", 1350],
  ["500ms", 450],
  ["20s500ms", 18_450],
  ["1m30s", 27_000],
  ["100h", 27_000],
  [undefined, 9000],
])("timeLimitOf(%p) is %d ms", (timeout, expected) => {
  expect(timeLimitOf(timeout)).toBeCloseTo(expected);
});

test.each(["", "5", "s", "5 s", "-5s", "5s5", "5d", "0x5s", `${"9".repeat(1000)}s`, "0s"])(
  "timeLimitOf(%p) is not a time that the API server sends",
  (timeout) => {
    expect(timeLimitOf(timeout)).toBeFalsy();
  },
);
