import { expect, test } from "bun:test";
import type { Node } from "../../kubernetes/objects/node.ts";
import type { PodPlacement } from "../claims/scheduling.ts";
import { mayRunOn, readPlacement } from "./placement.ts";

function mayRun(
  pod: PodPlacement,
  spec: NonNullable<Node["spec"]> = {},
  labels: Record<string, string> = { zone: "a" },
) {
  return mayRunOn(pod, "node-1", readPlacement({ metadata: { name: "node-1", labels }, spec }));
}

test("mayRunOn() compares the node selector of a pod", () => {
  expect(mayRun({ nodeSelector: { zone: "a" } })).toBe(true);
  expect(mayRun({ nodeSelector: { zone: "b" } })).toBe(false);
});

test.each([
  [{ key: "zone", operator: "In", values: ["b", "a"] }, true],
  [{ key: "zone", operator: "In", values: ["b"] }, false],
  [{ key: "zone", operator: "NotIn", values: ["b"] }, true],
  [{ key: "disk", operator: "NotIn", values: ["b"] }, true],
  [{ key: "zone", operator: "NotIn", values: ["a"] }, false],
  [{ key: "zone", operator: "Exists" }, true],
  [{ key: "disk", operator: "Exists" }, false],
  [{ key: "zone", operator: "DoesNotExist" }, false],
  [{ key: "cores", operator: "Gt", values: ["9"] }, true],
  [{ key: "cores", operator: "Gt", values: ["10"] }, false],
  [{ key: "cores", operator: "Lt", values: ["11"] }, true],
  [{ key: "zone", operator: "Lt", values: ["11"] }, false],
] as const)("mayRunOn() finds the expression %j %p", (expression, expected) => {
  const required = { nodeSelectorTerms: [{ matchExpressions: [expression] }] };
  const affinity = { nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: required } };
  expect(mayRun({ affinity }, {}, { zone: "a", cores: "10" })).toBe(expected);
});

test("mayRunOn() looks at the name of the node, and at each term", () => {
  const named = (name: string) =>
    ({ matchFields: [{ key: "metadata.name", operator: "In", values: [name] }] }) as const;
  const affinityOf = (...nodeSelectorTerms: object[]) => ({
    nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms } },
  });
  expect(mayRun({ affinity: affinityOf(named("node-2"), named("node-1")) })).toBe(true);
  expect(mayRun({ affinity: affinityOf(named("node-2")) })).toBe(false);
  expect(mayRun({ affinity: affinityOf({}) })).toBe(false);
});

test("mayRunOn() asks for tolerations of the taints that keep pods away, and of a cordon", () => {
  const taints = [
    { key: "gpu", value: "no", effect: "NoSchedule" },
    { key: "old", effect: "PreferNoSchedule" },
  ] as const;
  expect(mayRun({}, { taints })).toBe(false);
  expect(mayRun({ tolerations: [{ key: "gpu", value: "yes" }] }, { taints })).toBe(false);
  expect(mayRun({ tolerations: [{ key: "gpu", value: "no", effect: "NoExecute" }] }, { taints })).toBe(false);
  expect(mayRun({ tolerations: [{ key: "gpu", value: "no" }] }, { taints })).toBe(true);
  expect(mayRun({ tolerations: [{ key: "gpu", operator: "Exists", effect: "NoSchedule" }] }, { taints })).toBe(true);
  expect(mayRun({ tolerations: [{ operator: "Exists" }] }, { taints, unschedulable: true })).toBe(true);
  expect(mayRun({}, { unschedulable: true })).toBe(false);
});
