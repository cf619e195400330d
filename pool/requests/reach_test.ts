import { expect, test } from "bun:test";
import fc from "fast-check";
import type { NodeRequirement, NodeSelector } from "../../kubernetes/objects/node_selector.ts";
import type { Pod } from "../../kubernetes/objects/pod.ts";
import { claim } from "../claims/testing.ts";
import { waitingClaim } from "../claims/waiting_claim.ts";
import { mayReach, type NodeChoice, nodeChoiceOf } from "./reach.ts";
import { shortageChecks } from "./shortage_checks.ts";
import type { GpuSupply } from "./supply.ts";

type Expression = NodeRequirement;

function podSpec(nodeSelector: Record<string, string>, ...terms: Expression[][]): Pod["spec"] {
  const nodeSelectorTerms = terms.map((matchExpressions) => ({ matchExpressions }));
  const required = { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms } };
  return { containers: [], nodeSelector, ...(terms.length > 0 ? { affinity: { nodeAffinity: required } } : {}) };
}

const READY = { key: "ready", operator: "Exists" } as const;

/** The selector of a GPU that nodes with this label reach. */
function nodesWith(key: string, ...values: string[]): NodeSelector {
  return { nodeSelectorTerms: [{ matchExpressions: [READY, { key, operator: "In", values }] }] };
}

const zoneIn = (...values: string[]): Expression => ({ key: "zone", operator: "In", values });

test.each<[string, Pod["spec"], boolean]>([
  ["selects nothing", podSpec({}), true],
  ["selects the zone", podSpec({ zone: "a" }), true],
  ["selects another zone", podSpec({ zone: "b" }), false],
  ["selects by another label", podSpec({ disk: "ssd" }), true],
  ["requires one of two zones", podSpec({}, [zoneIn("a", "b")]), true],
  ["requires other zones", podSpec({}, [zoneIn("b", "c")]), false],
  ["requires another zone or another label", podSpec({}, [zoneIn("b")], [{ ...zoneIn("ssd"), key: "disk" }]), true],
  ["requires another zone or any node", podSpec({}, [zoneIn("b")], []), true],
  ["requires another zone in each term", podSpec({}, [zoneIn("b")], [zoneIn("c")]), false],
  ["selects another zone, and requires one of two zones", podSpec({ zone: "b" }, [zoneIn("a", "b")]), false],
  ["excludes another zone", podSpec({}, [{ ...zoneIn("b"), operator: "NotIn" }]), true],
  ["selects more than is looked at", podSpec({ zone: "b", x: "x".repeat(5000) }), true],
])("whether a GPU of zone a may be reached by a pod that %s", (_, spec, expected) => {
  const choice = nodeChoiceOf(spec);
  expect(choice === undefined || mayReach(choice, nodesWith("zone", "a"))).toBe(expected);
});

test("a GPU whose nodes fit a node of the pod may be reached, whatever both say", () => {
  const label = fc.constantFrom("x", "y");
  const value = fc.constantFrom("1", "2", "3");
  const expression = fc.record({
    key: label,
    operator: fc.constantFrom("In", "NotIn"),
    values: fc.uniqueArray(value, { minLength: 1 }),
  });
  const node = fc.record({ x: value, y: value });
  const fits = (labels: Record<string, string>, { key, operator, values = [] }: Expression) =>
    operator === "Exists" || values.includes(labels[key] ?? "") === (operator === "In");
  const isIn = fc.record({
    key: label,
    operator: fc.constant("In" as const),
    values: fc.array(value, { minLength: 1 }),
  });
  const property = fc.property(
    node,
    fc.dictionary(label, value),
    fc.array(fc.array(expression, { maxLength: 2 }), { maxLength: 2 }),
    fc.array(isIn, { maxLength: 2 }),
    (labels: Record<string, string>, selector, terms, gpu) => {
      fc.pre(Object.entries(selector).every(([key, each]) => labels[key] === each));
      fc.pre(terms.length === 0 || terms.some((term) => term.every((each) => fits(labels, each))));
      fc.pre(gpu.every((each) => fits(labels, each)));
      const choice = nodeChoiceOf(podSpec(selector, ...terms));
      return choice === undefined || mayReach(choice, { nodeSelectorTerms: [{ matchExpressions: [READY, ...gpu] }] });
    },
  );
  fc.assert(property, { numRuns: 100 });
});

/** Three GPUs: zone a reaches one that is held, zone b two free ones. */
const GPUS: readonly GpuSupply[] = [
  { attributes: {}, isTainted: false, held: 70, free: 30, nodes: nodesWith("zone", "a") },
  { attributes: {}, isTainted: false, held: 0, free: 100, nodes: nodesWith("zone", "b") },
  { attributes: {}, isTainted: false, held: 0, free: 100, nodes: nodesWith("zone", "b") },
];

/** Why a pod waits that has these claims and selects these nodes. */
function reasonOf(nodes: NodeChoice | undefined, ...units: number[]): string | undefined {
  const claims = units.flatMap((each, index) => waitingClaim(claim(`c-${index}`, { units: each })) ?? []);
  for (const { describe, inMessage } of shortageChecks(claims, GPUS, nodes)) {
    const shortage = describe();
    if (shortage !== undefined) return inMessage(shortage);
  }
  return undefined;
}

test("a pod waits for GPUs that its nodes reach, whatever is free elsewhere", () => {
  const select = (zone: string) => nodeChoiceOf(podSpec({ zone, disk: "ssd" }));
  expect(reasonOf(undefined, 60)).toBeUndefined();
  expect(reasonOf(select("b"), 60)).toBeUndefined();
  expect(reasonOf(select("a"), 60)).toBe(
    "needs 60 % of one GPU; the freest has 30 %; the nodes that the pod selects reach only 1 of the pool's 3 GPUs",
  );
  expect(reasonOf(select("c"), 60)).toBe(
    "needs 60 % of one GPU; the nodes that the pod selects reach no GPU of the pool",
  );
  expect(reasonOf(select("a"), 20, 20)).toBe(
    "needs 2 × 20 % of one GPU at the same time; the only GPU has 30 %; the nodes that the pod selects reach only 1 of the pool's 3 GPUs",
  );
});

test("pods whose selections differ only by labels that limit no GPU share their checks", () => {
  const claims = [waitingClaim(claim("c"))].flatMap((each) => each ?? []);
  const keyFor = (selector: Record<string, string>) =>
    [...shortageChecks(claims, GPUS, nodeChoiceOf(podSpec(selector)))].map(({ key }) => key).join();
  expect(keyFor({ disk: "ssd" })).toBe(keyFor({}));
  expect(keyFor({ disk: "ssd", zone: "a" })).toBe(keyFor({ zone: "a" }));
  expect(new Set([keyFor({}), keyFor({ zone: "a" }), keyFor({ zone: "b" })]).size).toBe(3);
});
