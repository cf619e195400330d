import { expect, test } from "bun:test";
import * as v from "valibot";
import { ConfigError } from "./config_error.ts";
import { type Environment, integer, milliseconds, port, readEnvironment, seconds } from "./environment.ts";

const ENTRIES = {
  NAME: v.string("expected a name"),
  COUNT: v.optional(integer({ min: 1, max: 1000 }), "3"),
  INTERVAL: v.optional(seconds({ min: 0.5, max: 60 }), "10"),
  PORT: v.optional(port(), "0"),
};

test.each<[string, number | string]>([
  ["0", 0],
  ["0.25", 0.25],
  ["900", 900],
  ["900.1", 'Cannot use LIMIT="900.1": expected milliseconds from 0 to 900'],
  ["2ms", 'Cannot use LIMIT="2ms": expected milliseconds from 0 to 900'],
])("milliseconds() takes %s as %p", (text, expected) => {
  const read = () => readEnvironment({ LIMIT: milliseconds({ min: 0, max: 900 }) }, { LIMIT: text }).LIMIT;
  if (typeof expected === "number") expect(read()).toBe(expected);
  else expect(read).toThrow(new ConfigError(expected));
});

test.each<[string, Environment, object]>([
  ["returns the defaults", { NAME: "a" }, { NAME: "a", COUNT: 3, INTERVAL: 10_000, PORT: 0 }],
  [
    "treats an empty variable as not set",
    { NAME: "a", COUNT: "", PORT: "" },
    { NAME: "a", COUNT: 3, INTERVAL: 10_000, PORT: 0 },
  ],
  [
    "parses numbers, and converts seconds to milliseconds",
    { NAME: "b", COUNT: "1000", INTERVAL: "0.5", PORT: "65535" },
    { NAME: "b", COUNT: 1000, INTERVAL: 500, PORT: 65_535 },
  ],
  [
    "rounds to whole milliseconds",
    { NAME: "a", INTERVAL: "1.001" }, // 1000.9999999999999 in floating point
    { NAME: "a", COUNT: 3, INTERVAL: 1001, PORT: 0 },
  ],
  ["ignores other variables", { NAME: "a", OTHER: "x" }, { NAME: "a", COUNT: 3, INTERVAL: 10_000, PORT: 0 }],
])("readEnvironment() %s", (_, environment, expected) => {
  expect(readEnvironment(ENTRIES, environment)).toEqual(expected as never);
});

test.each<[string, Environment, string]>([
  ["a missing variable", {}, "Cannot start without NAME: expected a name"],
  ["an empty variable without a default", { NAME: "" }, "Cannot start without NAME: expected a name"],
  [
    "text instead of a number",
    { NAME: "a", COUNT: "x" },
    'Cannot use COUNT="x": expected a whole number from 1 to 1000',
  ],
  [
    "a number below the minimum",
    { NAME: "a", COUNT: "0" },
    'Cannot use COUNT="0": expected a whole number from 1 to 1000',
  ],
  [
    "a number above the maximum",
    { NAME: "a", COUNT: "1001" },
    'Cannot use COUNT="1001": expected a whole number from 1 to 1000',
  ],
  ["a negative number", { NAME: "a", COUNT: "-1" }, 'Cannot use COUNT="-1": expected a whole number from 1 to 1000'],
  ["decimals", { NAME: "a", COUNT: "1.5" }, 'Cannot use COUNT="1.5": expected a whole number from 1 to 1000'],
  [
    "exponential notation",
    { NAME: "a", COUNT: "1e2" },
    'Cannot use COUNT="1e2": expected a whole number from 1 to 1000',
  ],
  ["spaces", { NAME: "a", COUNT: " 1" }, 'Cannot use COUNT=" 1": expected a whole number from 1 to 1000'],
  ["seconds with a unit", { NAME: "a", INTERVAL: "5s" }, 'Cannot use INTERVAL="5s": expected seconds from 0.5 to 60'],
  [
    "seconds below the minimum",
    { NAME: "a", INTERVAL: "0.4" },
    'Cannot use INTERVAL="0.4": expected seconds from 0.5 to 60',
  ],
  [
    "seconds above the maximum",
    { NAME: "a", INTERVAL: "61" },
    'Cannot use INTERVAL="61": expected seconds from 0.5 to 60',
  ],
  [
    "a port above 65535",
    { NAME: "a", PORT: "65536" },
    'Cannot use PORT="65536": expected a whole number from 0 to 65535',
  ],
])("readEnvironment() names the variable, its value and what is expected: %s", (_, environment, message) => {
  expect(() => readEnvironment(ENTRIES, environment)).toThrow(new ConfigError(message));
});
