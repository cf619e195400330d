import { expect, test } from "bun:test";
import { planParts, type Selection } from "./parts.ts";

const IMAGE = "kindest/node:old";

/** Names and folders of the parts. */
function plan(selection: Partial<Selection>): [name: string, folders: string[]][] {
  return planParts({ names: [], all: false, ...selection }).map(({ name, files }) => [
    name,
    [...new Set(files.map((file) => file.split("/")[2] ?? ""))],
  ]);
}

test("planParts() runs the scenarios, and with `all` also the drills, units and the audit, in this order", () => {
  expect(plan({})).toEqual([["e2e", ["scenarios"]]]);
  expect(plan({ all: true })).toEqual([["e2e", ["scenarios", "drills", "units", "audit"]]]);
});

test("planParts() creates only the clusters that the named files need", () => {
  expect(plan({ names: ["sharing_e2e"], oldImage: IMAGE })).toEqual([["e2e", ["scenarios"]]]);
  expect(plan({ names: ["old_kubernetes/"] })).toEqual([]);
});
