import { expect, test } from "bun:test";
import type { NodeSelector } from "../../kubernetes/objects/node_selector.ts";
import type { GpuRequest } from "../../pool/requests/gpu_request.ts";
import type { PublishedGpu } from "../../pool/requests/supply.ts";
import type { PodPlacement } from "../claims/scheduling.ts";
import type { NodePlacement } from "../nodes/placement.ts";
import type { PodHolder } from "./holders.ts";
import { type PreemptionState, planPreemptions } from "./plan.ts";
import type { Waiter } from "./waiters.ts";

const READY = { key: "ready", operator: "Exists" } as const;
const EVERYWHERE: NodeSelector = { nodeSelectorTerms: [{ matchExpressions: [READY] }] };
const inZone = (zone: string): NodeSelector => ({
  nodeSelectorTerms: [{ matchExpressions: [READY, { key: "zone", operator: "In", values: [zone] }] }],
});

function request(units: number, count = 1): GpuRequest {
  return { count, units, share: { gpus: count, percent: units }, filters: [] };
}

interface WaiterOptions {
  priority?: number;
  /** Nodes on which only devices are missing. */
  nodes?: number;
  placement?: PodPlacement;
}

function waiter(uid: string, requests: readonly GpuRequest[], options: WaiterOptions = {}): Waiter {
  const { priority = 10, nodes = 4, placement = {} } = options;
  const scheduling = { priority, mayPreempt: true, createdAt: 0, nodesWithoutDevices: nodes, claims: 1, placement };
  return { namespace: "team", name: uid, uid, scheduling, requests, key: JSON.stringify([requests, priority]) };
}

function holder(uid: string, shares: Record<string, number>, priority = 0): PodHolder {
  const pod = { namespace: "team", name: uid, uid, priority, startedAt: 0, endsAt: undefined };
  return { pods: [pod], priority, startedAt: 0, shares: new Map(Object.entries(shares)) };
}

/** GPUs `a0`, `b0`, … of zone a and b, with what the holders leave of them. */
function supplyOf(
  keys: readonly string[],
  holders: readonly PodHolder[],
  nodesOf: (key: string) => NodeSelector = () => EVERYWHERE,
): PublishedGpu[] {
  return keys.map((key) => {
    const held = holders.reduce((sum, { shares }) => sum + (shares.get(key) ?? 0), 0);
    const attributes = { memoryMb: 16_000, server: key };
    return { key, attributes, held, free: 100 - held, isTainted: false, nodes: nodesOf(key) };
  });
}

/** Nodes `a1`, `a2`, `b1`, `b2`, of two zones. */
const NODES = new Map<string, NodePlacement>(
  ["a1", "a2", "b1", "b2"].map((name) => [name, { labels: { ready: "true", zone: name.charAt(0) }, taints: [] }]),
);

function plan(
  waiters: readonly Waiter[],
  supply: readonly PublishedGpu[],
  holders: readonly PodHolder[],
  changes: Partial<PreemptionState> & { leaving?: Record<string, number> } = {},
): string[] {
  const { leaving = {}, ...rest } = changes;
  const holdings = { holders, leaving: new Map(Object.entries(leaving)) };
  const state = { waiters, supply, holdings, nodes: NODES, isProtected: () => false, isPaused: () => false, ...rest };
  return [...planPreemptions(state)].flatMap((decision) => {
    if (!decision) return [];
    if (decision.type === "blocked") return `${decision.waiter.uid} is blocked`;
    const victims = decision.victims.flatMap(({ pods }) => pods.map(({ uid }) => uid));
    return `${decision.waiter.uid} evicts ${victims.join(" and ")}`;
  });
}

test("planPreemptions() lets no two pods count on the same units", () => {
  const holders = [holder("x", { a0: 100 }), holder("y", { a1: 100 })];
  const supply = supplyOf(["a0", "a1"], holders);
  const waiters = ["first", "second", "third"].map((uid) => waiter(uid, [request(60)]));
  expect(plan(waiters, supply, holders)).toEqual(["first evicts x", "second evicts y"]);
  expect(
    plan([waiter("small", [request(60)]), waiter("large", [request(90)])], supply, [holders[0] as PodHolder]),
  ).toEqual(["small evicts x"]);
  const small = ["first", "second", "third"].map((uid) => waiter(uid, [request(50)]));
  expect(plan(small, supply, holders)).toEqual(["first evicts x", "third evicts y"]); // the second fits beside the first
});

test("planPreemptions() counts units that are free soon, once", () => {
  const holders = [holder("x", { a0: 100 })];
  const supply = supplyOf(["a0", "a1"], [...holders, holder("leaving", { a1: 100 })]);
  const waiters = ["first", "second"].map((uid) => waiter(uid, [request(100)]));
  expect(plan(waiters, supply, holders, { leaving: { a1: 100 } })).toEqual(["second evicts x"]);
});

test("planPreemptions() takes a pod that has preempted into account, and lets it evict nobody else", () => {
  const holders = [holder("x", { a0: 100 }), holder("y", { a1: 100 })];
  const waiters = ["first", "second"].map((uid) => waiter(uid, [request(100)]));
  const isPaused = (uid: string) => uid === "first";
  const supply = supplyOf(["a0", "a1", "a2"], [...holders, holder("leaving", { a2: 100 })]);
  expect(plan(waiters, supply, holders, { isPaused })).toEqual(["second evicts x"]);
  expect(plan(waiters, supply, holders, { isPaused, leaving: { a2: 100 } })).toEqual(["second evicts x"]);
});

test("planPreemptions() chooses others where a budget protects pods, and says if there are none", () => {
  const holders = [holder("x", { a0: 100 }), holder("y", { a1: 100 }, 5)];
  const supply = supplyOf(["a0", "a1"], holders);
  const one = [waiter("one", [request(100)])];
  expect(plan(one, supply, holders, { isProtected: (uid) => uid === "x" })).toEqual(["one evicts y"]);
  const two = [waiter("two", [request(100, 2)])];
  expect(plan(two, supply, holders, { isProtected: (uid) => uid === "x" })).toEqual(["two is blocked"]);
  const never = [waiter("never", [request(100, 3)])];
  expect(plan(never, supply, holders, { isProtected: (uid) => uid === "x" })).toEqual([]);
});

const ZONES = (key: string) => inZone(key.charAt(0));

test("planPreemptions() makes room on GPUs that one node reaches", () => {
  const holders = [holder("x", { a0: 100 }), holder("y", { b0: 100 }), holder("z", { b1: 100 }, 5)];
  const supply = supplyOf(["a0", "b0", "b1"], holders, ZONES);
  expect(plan([waiter("pair", [request(100, 2)])], supply, holders)).toEqual(["pair evicts z and y"]);
  expect(plan([waiter("three", [request(100, 3)])], supply, holders)).toEqual([]);
});

test("planPreemptions() makes room only where the pod certainly lacks nothing else", () => {
  const holders = [holder("x", { a0: 100 }), holder("y", { b0: 100 }, 5)];
  const supply = supplyOf(["a0", "b0"], holders, ZONES);
  const requests = [request(100)];
  const [inA, inB] = ["a", "b"].map((zone) => ({ nodeSelector: { zone } }));
  expect(plan([waiter("w", requests, { nodes: 3 })], supply, holders)).toEqual(["w evicts x"]);
  expect(plan([waiter("w", requests, { nodes: 2 })], supply, holders)).toEqual([]); // perhaps the two of the other zone
  expect(plan([waiter("w", requests, { nodes: 1, placement: inB ?? {} })], supply, holders)).toEqual(["w evicts y"]);
  expect(plan([waiter("w", requests, { nodes: 1, placement: inA ?? {} })], supply, holders)).toEqual(["w evicts x"]);
});

test("planPreemptions() uses GPUs that all nodes reach, whatever else some of them reach", () => {
  const holders = [holder("x", { a0: 100 }), holder("y", { b0: 100 }, 5)];
  const supply = supplyOf(["a0", "b0"], holders, (key) => (key === "b0" ? inZone("b") : EVERYWHERE));
  expect(plan([waiter("w", [request(100)], { nodes: 1 })], supply, holders)).toEqual(["w evicts x"]);
});

test("planPreemptions() evicts nobody for a pod that lacks devices only where the driver is not ready", () => {
  const holders = [holder("x", { a0: 100 })];
  const supply = supplyOf(["a0"], holders);
  const nodes = new Map([...NODES, ["c1", { labels: {}, taints: [] }]] as [string, NodePlacement][]);
  expect(plan([waiter("w", [request(100)], { nodes: 1 })], supply, holders, { nodes })).toEqual([]);
  expect(plan([waiter("w", [request(100)], { nodes: 2 })], supply, holders, { nodes })).toEqual(["w evicts x"]);
});

test("planPreemptions() decides once about pods that ask for the same in vain", () => {
  const holders = [holder("x", { a0: 100 }), holder("y", { a1: 100 }, 20)];
  const waiters = Array.from({ length: 1000 }, (_, index) => waiter(`w${index}`, [request(100)]));
  const holdings = { holders, leaving: new Map() };
  const supply = supplyOf(["a0", "a1"], holders);
  const state = { waiters, supply, holdings, nodes: NODES, isProtected: () => false, isPaused: () => false };
  expect([...planPreemptions(state)].map((decision) => decision?.type ?? "none")).toEqual(["preempt", "none"]);
});
