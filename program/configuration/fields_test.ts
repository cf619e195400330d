import { expect, test } from "bun:test";
import * as v from "valibot";
import { duration, wholeNumber } from "./fields.ts";

test.each([
  ["100ms", 100],
  ["5m", 300_000],
  ["1m30s", 90_000],
  ["1.001s", 1001], // 1000.9999999999999 in floating point
  ["1h", 3600_000],
])("duration() parses %s as %d ms", (text, ms) => {
  expect(v.parse(duration({ min: "100ms", max: "1h" }), text)).toBe(ms);
});

test.each(["99ms", "61m", "5", "", "m", "5 m", "-5m", "5m ", "5d", "1e3s", 300])("duration() rejects %j", (value) => {
  const { issues } = v.safeParse(duration({ min: "100ms", max: "1h" }), value);
  expect(issues?.[0].message).toBe("expected a duration from 100ms to 1h, such as 5m or 1m30s");
});

test("wholeNumber() accepts its limits", () => {
  const schema = wholeNumber({ min: 1, max: 3 });
  expect([v.parse(schema, 1), v.parse(schema, 3)]).toEqual([1, 3]);
});

test.each([0, 4, 1.5, "2", null])("wholeNumber() rejects %j", (value) => {
  const { issues } = v.safeParse(wholeNumber({ min: 1, max: 3, of: "GPUs" }), value);
  expect(issues?.[0].message).toBe("expected a whole number of GPUs from 1 to 3");
});
