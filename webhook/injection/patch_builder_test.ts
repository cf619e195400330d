import { expect, test } from "bun:test";
import { applyPatch } from "rfc6902";
import { createPatchBuilder, type PatchBuilder } from "./patch_builder.ts";

/** Applies the operations to the document. Returns it with their number. */
function patched<T extends object>(document: T, fill: (patch: PatchBuilder, document: T) => void) {
  const patch = createPatchBuilder();
  fill(patch, document);
  const operations = structuredClone([...patch.build()]);
  expect(applyPatch(document, operations).filter(Boolean)).toEqual([]);
  return { document, operations: operations.length };
}

test.each<[description: string, before: { a?: number }, operations: number]>([
  ["adds a field", {}, 1],
  ["replaces a field", { a: 1 }, 1],
  ["leaves a field that has the value already", { a: 2 }, 0],
])("set() %s", (_, before, operations) => {
  expect(patched(before, (patch, { a }) => patch.set("/a", a, 2))).toEqual({ document: { a: 2 }, operations });
});

test.each<[description: string, before: { a?: number[] }, after: object]>([
  ["creates a list", {}, { a: [3, 4] }],
  ["fills an empty list", { a: [] }, { a: [3, 4] }],
  ["appends to a list, in order", { a: [1, 2] }, { a: [1, 2, 3, 4] }],
])("append() %s", (_, before, after) => {
  expect(patched(before, (patch, { a }) => patch.append("/a", a, [3, 4])).document).toEqual(after);
});

test("append() of nothing changes nothing", () => {
  expect(patched({ a: [1] }, (patch, { a }) => patch.append("/a", a, []))).toMatchObject({ operations: 0 });
});

test.each<[description: string, before: { a?: number[] }, after: object]>([
  ["creates a list", {}, { a: [3] }],
  ["inserts in front of a list", { a: [1, 2] }, { a: [3, 1, 2] }],
])("prepend() %s", (_, before, after) => {
  expect(patched(before, (patch, { a }) => patch.prepend("/a", a, 3)).document).toEqual(after);
});
