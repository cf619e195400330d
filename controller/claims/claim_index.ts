import type { ResourceClaim } from "../../kubernetes/objects/resource_claim.ts";
import type { ObjectChange } from "../../kubernetes/watch.ts";
import type { HeldUnits } from "../../pool/claims/device_key.ts";
import { heldBy } from "../../pool/claims/held_units.ts";
import { type WaitingClaim, waitingClaim } from "../../pool/claims/waiting_claim.ts";
import { type ClaimState, stateOf } from "./claim_state.ts";

/** What the controller keeps of a claim. */
export interface ClaimSummary {
  /** Units of the driver's devices, by {@link deviceKey}. */
  readonly held: HeldUnits;
  /** The uids of the pods that it is reserved for. */
  readonly consumers: readonly string[];
  readonly waiting: WaitingClaim | undefined;
  readonly state: ClaimState;
}

/** Who holds units of the pool, and who waits for some. It follows a watch without copying what has not changed. */
export interface ClaimIndex {
  readonly held: HeldUnits;
  /** All claims that hold or wait for units, by namespace/name. */
  readonly claims: ReadonlyMap<string, ClaimSummary>;
  /** By namespace/name of the claim. */
  readonly waiting: ReadonlyMap<string, WaitingClaim>;
  /** The state of a claim that holds or waits for units, by namespace/name. */
  state(key: string): ClaimState | undefined;
  /** The keys of the devices that a claim holds, by namespace/name of the claim. */
  devices(key: string): readonly string[];
  /** Whether all claims are known. */
  readonly isSynced: boolean;
  /** Applies a change, and returns the keys of devices that no claim holds any more. */
  apply(change: ObjectChange<ClaimSummary>): string[];
}

export function createClaimIndex(): ClaimIndex {
  let summaries = new Map<string, ClaimSummary>();
  let isSynced = false;
  const held = new Map<string, number>();
  const waiting = new Map<string, WaitingClaim>();

  function add(key: string, summary: ClaimSummary): void {
    summaries.set(key, summary);
    for (const [device, units] of summary.held) held.set(device, (held.get(device) ?? 0) + units);
    if (summary.waiting) waiting.set(key, summary.waiting);
  }

  function remove(key: string): HeldUnits {
    const summary = summaries.get(key);
    if (!summary) return new Map();
    summaries.delete(key);
    waiting.delete(key);
    for (const [device, units] of summary.held) {
      const rest = (held.get(device) ?? 0) - units;
      if (rest > 0) held.set(device, rest);
      else held.delete(device);
    }
    return summary.held;
  }

  return {
    held,
    get claims() {
      return summaries;
    },
    waiting,
    state: (key) => summaries.get(key)?.state,
    devices: (key) => [...(summaries.get(key)?.held.keys() ?? [])],
    get isSynced() {
      return isSynced;
    },
    apply(change) {
      if (change.type === "replace") {
        const before = [...held.keys()];
        summaries = new Map();
        held.clear();
        waiting.clear();
        for (const [key, summary] of change.objects) add(key, summary);
        isSynced = true;
        return before.filter((device) => !held.has(device));
      }
      const released = remove(change.key);
      if (change.type === "put") add(change.key, change.object);
      return [...released.keys()].filter((device) => !held.has(device));
    },
  };
}

/** Reduces a claim to what the controller needs. Undefined for a claim that neither holds nor waits for units of the pool. */
export function summarizeClaim(claim: ResourceClaim): ClaimSummary | undefined {
  const held = heldBy(claim);
  const waiting = waitingClaim(claim);
  const consumers = claim.status?.reservedFor?.map(({ uid }) => uid) ?? [];
  return held.size > 0 || waiting ? { held, consumers, waiting, state: stateOf(claim) } : undefined;
}
