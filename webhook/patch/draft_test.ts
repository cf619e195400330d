import { describe, expect, test } from "bun:test";
import { applyPatch } from "rfc6902";
import { decodePatch } from "../testing.ts";
import { appendTo, createDraft, type Draft, patchOf, setTo, shareElements } from "./draft.ts";
import { encodePatch } from "./patch_text.ts";

function patched<T>(document: T, fill: (draft: Draft) => void): T {
  const draft = createDraft();
  fill(draft);
  expect(applyPatch(document, decodePatch(encodePatch(patchOf(draft)))).filter(Boolean)).toEqual([]);
  return document;
}

const appends = (draft: Draft) => patchOf(draft).flat();

test.each<[description: string, before: { a?: number }, operations: number]>([
  ["adds a field", {}, 1],
  ["replaces a field", { a: 1 }, 1],
  ["leaves a field that has the value already", { a: 2 }, 0],
])("setTo() %s", (_, before, count) => {
  const draft = createDraft();
  setTo(draft, "/a", before.a, 2);
  expect(appends(draft)).toHaveLength(count);
  expect(patched<object>(before, ({ own }) => own.push(...draft.own))).toEqual({ a: 2 });
});

describe.each<[string, readonly number[]]>([
  ["of this pod alone", [3, 4]],
  ["that many pods get", shareElements([3, 4])],
])("appendTo() of elements %s", (_, elements) => {
  test.each<[description: string, before: { a?: number[] }, after: object]>([
    ["makes a list", {}, { a: [3, 4] }],
    ["fills an empty list", { a: [] }, { a: [3, 4] }],
    ["puts them at the end of a list, in order", { a: [1, 2] }, { a: [1, 2, 3, 4] }],
    ["does so for the next pod, too", { a: [5] }, { a: [5, 3, 4] }],
  ])("%s", (_, before, after) => {
    expect(patched<object>(before, (draft) => appendTo(draft, "/a", before.a, elements))).toEqual(after);
  });

  test("leaves a list to which nothing is to be added", () => {
    const draft = createDraft();
    appendTo(draft, "/a", [1], []);
    expect(appends(draft)).toEqual([]);
  });

  test("keeps the lists of different paths apart, however many", () => {
    for (let index = 0; index < 200; index++) {
      const pod = { lists: Array.from({ length: 200 }, () => [0]) };
      const { lists } = patched(pod, (draft) => appendTo(draft, `/lists/${index}`, pod.lists[index], elements));
      expect(lists[index]).toEqual([0, 3, 4]);
      expect(lists.flat()).toHaveLength(202);
    }
  });
});

test("a patch has what belongs to the pod alone before what other pods get as well", () => {
  const draft = createDraft();
  appendTo(draft, "/a", [], shareElements([1]));
  setTo(draft, "/b", undefined, 2);
  expect(appends(draft).map(({ path }) => path)).toEqual(["/b", "/a/-"]);
});
