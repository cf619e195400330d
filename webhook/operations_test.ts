import { expect, test } from "bun:test";
import { applyPatch, type Operation } from "rfc6902";
import { appendTo, setTo } from "./operations.ts";

function patched<T>(document: T, fill: (operations: Operation[]) => void): T {
  const operations: Operation[] = [];
  fill(operations);
  expect(applyPatch(document, operations).filter(Boolean)).toEqual([]);
  return document;
}

test.each<[description: string, before: { a?: number }, operations: number]>([
  ["adds a field", {}, 1],
  ["replaces a field", { a: 1 }, 1],
  ["leaves a field that has the value already", { a: 2 }, 0],
])("setTo() %s", (_, before, count) => {
  const operations: Operation[] = [];
  setTo(operations, "/a", before.a, 2);
  expect(operations).toHaveLength(count);
  expect(patched<object>(before, (list) => list.push(...operations))).toEqual({ a: 2 });
});

test.each<[description: string, before: { a?: number[] }, after: object]>([
  ["makes a list", {}, { a: [3, 4] }],
  ["fills an empty list", { a: [] }, { a: [3, 4] }],
  ["puts elements at the end of a list, in order", { a: [1, 2] }, { a: [1, 2, 3, 4] }],
])("appendTo() %s", (_, before, after) => {
  expect(patched<object>(before, (operations) => appendTo(operations, "/a", before.a, [3, 4]))).toEqual(after);
});

test("appendTo() leaves a list to which nothing is to be added", () => {
  const operations: Operation[] = [];
  appendTo(operations, "/a", [1], []);
  expect(operations).toEqual([]);
});
