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

test("planParts() runs units on the older Kubernetes last, on a cluster on which nothing is installed", () => {
  expect(plan({ all: true, oldImage: IMAGE }).map(([name]) => name)).toEqual(["e2e", "old_kubernetes"]);
  const [part] = planParts({ names: ["old_kubernetes"], all: true, oldImage: IMAGE });
  expect(part?.cluster).toEqual({ nodeImage: IMAGE, installs: false });
  expect(part?.files[0]).toEndWith("/default_installation_e2e.ts"); // before the others install the component
});

test("planParts() creates only the clusters that the named files need", () => {
  expect(plan({ names: ["sharing_e2e"], oldImage: IMAGE })).toEqual([["e2e", ["scenarios"]]]);
  expect(plan({ names: ["old_kubernetes/"], oldImage: IMAGE })).toEqual([["old_kubernetes", ["old_kubernetes"]]]);
  expect(plan({ names: ["old_kubernetes/"] })).toEqual([]);
});
