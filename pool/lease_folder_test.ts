import { expect, test } from "bun:test";
import { formatLeases, parseLeases } from "./lease_folder.ts";

const LEASES = {
  containers: ["train"],
  leases: [{ address: "gpu-1:56001", leaseId: "a", secret: "hush", gatePort: 56010 }],
};

test("parseLeases() parses the output of formatLeases()", () => {
  expect(parseLeases(formatLeases(LEASES))).toEqual(LEASES);
});

test("parseLeases() takes leases without names of containers as those of any container", () => {
  expect(parseLeases('{ "leases": [] }')).toEqual({ containers: [], leases: [] });
});

test.each([
  ["", "the document: expected JSON"],
  ["[]", "leases: expected"],
  [formatLeases(LEASES).replace('"hush"', '["hush"]'), "leases.0.secret: expected string"],
])("parseLeases() rejects %j, names the field, and shows no secret", (text, message) => {
  expect(() => parseLeases(text)).toThrow(message);
  expect(() => parseLeases(text)).not.toThrow("hush");
});
