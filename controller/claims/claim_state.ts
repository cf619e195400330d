import type { ResourceClaim } from "../../kubernetes/objects/resource_claim.ts";
import { DRIVER } from "../../pool/driver.ts";

/** What a claim is allocated. */
export interface ClaimState {
  readonly uid: string;
  /** The ids of its shares of the pool's GPUs. Undefined if the claim is not allocated. */
  readonly shareIds: ReadonlySet<string> | undefined;
}

export function stateOf({ metadata: { uid = "" }, status }: ResourceClaim): ClaimState {
  if (!status?.allocation) return { uid, shareIds: undefined };
  const results = status.allocation.devices?.results ?? [];
  return {
    uid,
    shareIds: new Set(results.flatMap(({ driver, shareID }) => (driver === DRIVER ? (shareID ?? []) : []))),
  };
}

/** Whether a claim had shares that it has no more. */
export function losesShares(before: ClaimState | undefined, after: ClaimState | undefined): boolean {
  if (!before?.shareIds) return false;
  if (before.uid !== after?.uid || !after.shareIds) return true;
  return !before.shareIds.isSubsetOf(after.shareIds);
}
