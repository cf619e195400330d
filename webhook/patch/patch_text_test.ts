import { expect, test } from "bun:test";
import fc from "fast-check";
import { decodePatch } from "../testing.ts";
import { encodePatch, keepText, type Run } from "./patch_text.ts";

const runs = fc.array(
  fc.array(
    fc.record({ op: fc.constant("add" as const), path: fc.string({ unit: "grapheme" }), value: fc.jsonValue() }),
  ),
);

test("encodePatch() puts runs together, those whose text was kept and others, whatever their length and letters", () => {
  fc.assert(
    fc.property(runs, fc.func(fc.boolean()), (patch, isKept) => {
      const given = patch.map((run: Run, index) => (isKept(index) ? keepText(run) : run));
      expect(decodePatch(encodePatch(given))).toEqual(JSON.parse(JSON.stringify(patch.flat())));
    }),
  );
});

test("encodePatch() writes base64 without padding in its middle, as Go reads it", () => {
  const patch = [[{ op: "add" as const, path: "/a", value: "é" }], keepText([{ op: "add", path: "/bc", value: 1 }])];
  expect(encodePatch(patch)).toMatch(/^[A-Za-z0-9+/]+$/);
});
