import { expect, test } from "bun:test";
import { type Mode, readMode } from "./mode.ts";
import { Refusal } from "./refusal.ts";

const KEY = "auto-management/bitfusion";

test.each<[values: string[], mode: Mode]>([
  [["all", "on", "true", "y", "yes", "Yes", "TRUE"], "full"],
  [["injection", "Injection"], "injection"],
  [["n", "no", "none", "off", "false", "None", "FALSE"], "off"],
])("readMode() reads %j as %s, case-insensitively", (values, mode) => {
  for (const value of values) expect(readMode({ [KEY]: value })).toBe(mode);
});

test("readMode() returns off without the annotation, regardless of other annotations", () => {
  expect(readMode({})).toBe("off");
  expect(readMode({ "auto-management/status": "injected", "bitfusion-client/os": "linux" })).toBe("off");
});

test.each(["", " ", "yes ", "inject", "1", "constructor", "__proto__"])(
  "readMode() refuses %j and lists the valid values",
  (value) => {
    expect(() => readMode({ [KEY]: value })).toThrow(
      new Refusal(
        "mode",
        `Annotation ${KEY} is "${value}": expected one of all, on, true, y, yes, injection, n, no, none, off, false`,
      ),
    );
  },
);
