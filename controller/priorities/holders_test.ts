import { expect, test } from "bun:test";
import type { ClaimSummary } from "../claims/claim_index.ts";
import type { BoundPod } from "./bound_pod.ts";
import { type HoldingsState, readHoldings } from "./holders.ts";

const NOW = 1_000_000;

function pod(uid: string, changes: Partial<BoundPod> = {}): BoundPod {
  return { namespace: "team", name: uid, uid, priority: 0, startedAt: 0, endsAt: undefined, ...changes };
}

function claim(held: Record<string, number>, ...consumers: string[]): ClaimSummary {
  const state = { uid: "1", shareIds: undefined };
  return { held: new Map(Object.entries(held)), consumers, waiting: undefined, state };
}

function read(
  claims: Record<string, ClaimSummary>,
  pods: readonly BoundPod[],
  changes: Partial<HoldingsState> = {},
): { holders: [pods: string, priority: number, units: Record<string, number>][]; leaving: Record<string, number> } {
  const { holders, leaving } = readHoldings({
    claims: new Map(Object.entries(claims)),
    bound: new Map(pods.map((each) => [each.uid, each])),
    pending: new Set(),
    isEvicted: () => false,
    isAbandonedRecently: () => true,
    now: NOW,
    ...changes,
  });
  return {
    holders: holders.map(({ pods, priority, shares }) => [
      pods.map(({ uid }) => uid).join("+"),
      priority,
      Object.fromEntries(shares),
    ]),
    leaving: Object.fromEntries(leaving),
  };
}

test("readHoldings() adds up the claims of a pod", () => {
  const claims = { a: claim({ g0: 10, g1: 10 }, "x"), b: claim({ g1: 20 }, "x"), c: claim({ g0: 5 }, "y") };
  expect(read(claims, [pod("x", { priority: 3 }), pod("y")])).toEqual({
    holders: [
      ["x", 3, { g0: 10, g1: 30 }],
      ["y", 0, { g0: 5 }],
    ],
    leaving: {},
  });
});

test("readHoldings() keeps pods together that share a claim, with the highest of their priorities", () => {
  const claims = { a: claim({ g0: 10 }, "x"), b: claim({ g1: 20 }, "y"), both: claim({ g2: 5 }, "x", "y") };
  expect(read(claims, [pod("x", { priority: 3 }), pod("y", { priority: 7 })]).holders).toEqual([
    ["x+y", 7, { g0: 10, g1: 20, g2: 5 }],
  ]);
  const ending = pod("y", { priority: 7, endsAt: NOW + 1 });
  expect(read(claims, [pod("x", { priority: 3 }), ending]).holders).toEqual([["x", 3, { g0: 10, g1: 20, g2: 5 }]]);
});

test("readHoldings() counts units of pods that are being deleted as free soon, unless they should have ended long ago", () => {
  const claims = { a: claim({ g0: 10 }, "x"), b: claim({ g0: 20 }, "y") };
  const pods = [pod("x", { endsAt: NOW + 600_000 }), pod("y", { endsAt: NOW - 61_000 })];
  expect(read(claims, pods)).toEqual({ holders: [], leaving: { g0: 10 } });
});

test("readHoldings() counts units of a pod that was just evicted as free soon, before the watch tells", () => {
  const claims = { a: claim({ g0: 10 }, "x") };
  expect(read(claims, [pod("x")], { isEvicted: (uid) => uid === "x" })).toEqual({ holders: [], leaving: { g0: 10 } });
});

test("readHoldings() counts units of claims whose pods have ended as free soon, for a while", () => {
  const claims = { old: claim({ g0: 10 }, "x"), new: claim({ g1: 10 }) };
  expect(read(claims, [], { isAbandonedRecently: (key) => key === "new" })).toEqual({
    holders: [],
    leaving: { g1: 10 },
  });
});

test("readHoldings() leaves pods alone that are about to be bound", () => {
  const claims = { a: claim({ g0: 10 }, "x"), b: claim({ g1: 10 }, "y", "x") };
  expect(read(claims, [pod("y")], { pending: new Set(["x"]) })).toEqual({ holders: [], leaving: {} });
});
