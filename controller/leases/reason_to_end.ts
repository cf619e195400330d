import type { ClaimAllocation } from "../../pool/lease.ts";
import type { ClaimState } from "../claims/claim_state.ts";

/**
 * Why a lease must end: its claim holds the lease's shares no more. Undefined if it still does. The scheduler chooses new ids for the shares whenever
 * it allocates a claim, so a lease of an earlier allocation is known even if the claim has the same GPU again.
 *
 * @param claim undefined if no claim has this name.
 */
export function reasonToEnd({ uid, shareIds }: ClaimAllocation, claim: ClaimState | undefined): string | undefined {
  if (!claim) return "its claim does not exist any more";
  if (claim.uid !== uid) return "its claim was replaced by another with this name";
  const { shareIds: held } = claim;
  if (!held) return "its claim is not allocated any more";
  return shareIds.every((id) => held.has(id)) ? undefined : "its claim was allocated again";
}
