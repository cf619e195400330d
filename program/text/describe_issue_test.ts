import { expect, test } from "bun:test";
import * as v from "valibot";
import { describeIssue } from "./describe_issue.ts";

const Document = v.strictObject({
  name: v.string(),
  mode: v.optional(v.picklist(["a", "b"], "expected a or b")),
  servers: v.optional(v.array(v.object({ addresses: v.array(v.string(), "expected a list") }))),
  count: v.optional(v.number()),
});

test.each<[string, unknown, string]>([
  ["a field that is not set", {}, "name is not set"],
  ["an invalid value, and what is expected", { name: "x", mode: "c" }, 'mode is "c": expected a or b'],
  ["a value of the wrong type", { name: "x", count: "1" }, 'count is "1": expected number'],
  [
    "the path of a nested field",
    { name: "x", servers: [{ addresses: "y" }] },
    'servers.0.addresses is "y": expected a list',
  ],
  ["an object without its value", { name: {} }, "name: expected string"],
  ["an unknown field", { name: "x", nmae: "y" }, "nmae is not a known field"],
  ["the document itself", "x", 'the document is "x": expected Object'],
])("describeIssue() reports %s", (_, document, expected) => {
  const { issues } = v.safeParse(Document, document);
  expect(issues?.map(describeIssue)[0]).toBe(expected);
});

test("describeIssue() shortens a value of absurd length", () => {
  const { issues } = v.safeParse(Document, { name: "x", mode: "y".repeat(1000) });
  expect(issues?.map(describeIssue)[0]).toBe(`mode is "${"y".repeat(199)}… (1002 characters): expected a or b`);
});

test("describeIssue() shortens an unknown field of absurd length, and escapes control characters", () => {
  const { issues } = v.safeParse(Document, { name: "x", [`\u001b${"y".repeat(1000)}`]: "y" });
  expect(issues?.map(describeIssue)[0]).toBe(`\\u001b${"y".repeat(194)}… (1006 characters) is not a known field`);
});
