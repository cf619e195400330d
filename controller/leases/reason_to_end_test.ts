import { expect, test } from "bun:test";
import type { ClaimState } from "../claims/claim_state.ts";
import { readClaimLeases } from "./claim_lease.ts";
import { reasonToEnd } from "./reason_to_end.ts";

const LEASE = { namespace: "team", name: "train-gpu", uid: "a-1", node: "node-1", shareIds: ["s-1", "s-2"] };

test.each<[claim: string, state: ClaimState | undefined, reason: string | undefined]>([
  ["holds exactly its shares", { uid: "a-1", shareIds: new Set(["s-2", "s-1"]) }, undefined],
  [
    "holds its shares, and others on other servers",
    { uid: "a-1", shareIds: new Set(["s-1", "s-2", "s-3"]) },
    undefined,
  ],
  ["does not exist", undefined, "its claim does not exist any more"],
  [
    "is another one",
    { uid: "a-2", shareIds: new Set(["s-1", "s-2"]) },
    "its claim was replaced by another with this name",
  ],
  ["is not allocated", { uid: "a-1", shareIds: undefined }, "its claim is not allocated any more"],
  ["was allocated again", { uid: "a-1", shareIds: new Set(["s-4", "s-5"]) }, "its claim was allocated again"],
  ["lost one share", { uid: "a-1", shareIds: new Set(["s-1"]) }, "its claim was allocated again"],
])("a lease whose claim %s", (_, state, reason) => {
  expect(reasonToEnd(LEASE, state)).toBe(reason);
});

test("reasonToEnd() goes by the uid if the scheduler gave the lease's shares no ids", () => {
  const lease = { ...LEASE, shareIds: [] };
  expect(reasonToEnd(lease, { uid: "a-1", shareIds: new Set() })).toBeUndefined();
  expect(reasonToEnd(lease, { uid: "a-2", shareIds: new Set() })).toBeDefined();
});

test("readClaimLeases() leaves out leases without a claim, and those that no driver can have taken", () => {
  const of = (id: string, changes: Partial<typeof LEASE>) => ({ id, resourceClaim: { ...LEASE, ...changes } });
  const leases = [
    { id: "of a pod" },
    of("of a claim", {}),
    of("no uid", { uid: "" }),
    of("a path", { name: "../../secrets" }),
    of("a line break", { node: "node-1\n" }),
    of("an absurd length", { namespace: "x".repeat(1_000_000) }),
  ];
  expect(readClaimLeases(leases as never)).toEqual([{ id: "of a claim", claim: LEASE }]);
});
