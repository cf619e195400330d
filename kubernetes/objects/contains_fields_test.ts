import { expect, test } from "bun:test";
import { containsFields } from "./contains_fields.ts";

test.each<[description: string, stored: unknown, expected: unknown, result: boolean]>([
  ["the same object", { a: 1, b: { c: "x" } }, { a: 1, b: { c: "x" } }, true],
  ["an object with a default", { a: 1, b: { c: "x", d: true } }, { a: 1, b: { c: "x" } }, true],
  ["an object that lacks a field", { a: 1 }, { a: 1, b: 2 }, false],
  ["another value", { a: 1 }, { a: 2 }, false],
  ["another type", "text", { a: 1 }, false],
  ["null", null, { a: 1 }, false],
  ["a list with a default in an element", [{ a: 1, b: 2 }], [{ a: 1 }], true],
  ["a longer list", [1, 2], [1], false],
  ["a shorter list", [1], [1, 2], false],
  ["an object instead of a list", { 0: "a", length: 1 }, ["a"], false],
])("containsFields() of %s", (_, stored, expected, result) => {
  expect(containsFields(stored, expected)).toBe(result);
});
