import type { HeldUnits } from "../../pool/claims/device_key.ts";
import type { ClaimSummary } from "../claims/claim_index.ts";
import type { BoundPod } from "./bound_pod.ts";
import type { Holder } from "./choice/rank.ts";

/** Pods whose eviction releases units. */
export interface PodHolder extends Holder {
  readonly pods: readonly BoundPod[];
}

export interface Holdings {
  readonly holders: readonly PodHolder[];
  /** Units that will be free soon: nobody who stays holds them. */
  readonly leaving: HeldUnits;
}

export interface HoldingsState {
  /** All claims, by namespace/name. */
  readonly claims: ReadonlyMap<string, ClaimSummary>;
  /** Pods on nodes that have not ended, by uid. */
  readonly bound: ReadonlyMap<string, BoundPod>;
  /** The uids of pods that are not bound yet. */
  readonly pending: ReadonlySet<string>;
  /** Whether a pod was evicted a moment ago. */
  isEvicted(uid: string): boolean;
  /** Whether the pods of a claim have ended a moment ago. Kubernetes then releases the claim soon. */
  isAbandonedRecently(claim: string): boolean;
  /** In ms since the epoch. */
  readonly now: number;
}

/** How long a pod may exist after it must have ended. Then its node is gone, perhaps, and its units are not free soon. In ms. */
const MAX_DELAY = 60_000;

/**
 * Finds out who holds units. A claim holds them as long as a pod that it is reserved for exists: so pods with a common claim release it
 * together only. Claims of a pod that the scheduler is about to bind are neither held by somebody who can be evicted, nor free soon.
 */
export function readHoldings(state: HoldingsState): Holdings {
  const { claims, bound, pending, isEvicted, isAbandonedRecently, now } = state;
  const leaving = new Map<string, number>();
  /** The claims that are released together, by the uid of each of their pods. */
  const groups = new Map<string, Group>();
  for (const [key, { held, consumers }] of claims) {
    if (held.size === 0) continue;
    const known = consumers.filter((uid) => bound.has(uid) || pending.has(uid));
    if (known.length > 0) add(groups, known, held);
    else if (isAbandonedRecently(key)) sum(leaving, held);
  }
  const holders: PodHolder[] = [];
  for (const { pods: uids, held } of new Set(groups.values())) {
    const pods = [...uids].flatMap((uid) => bound.get(uid) ?? []);
    if (pods.length < uids.size) continue; // one is not bound yet
    const staying = pods.filter(({ uid, endsAt }) => endsAt === undefined && !isEvicted(uid));
    if (staying.length === 0) {
      if (pods.every(({ endsAt = now }) => now < endsAt + MAX_DELAY)) sum(leaving, held);
      continue;
    }
    const priority = Math.max(...staying.map((pod) => pod.priority));
    const startedAt = Math.min(...staying.map((pod) => pod.startedAt));
    holders.push({ pods: staying, priority, startedAt, shares: held });
  }
  return { holders, leaving };
}

interface Group {
  readonly pods: Set<string>;
  readonly held: Map<string, number>;
}

function add(groups: Map<string, Group>, pods: readonly string[], held: HeldUnits): void {
  const group: Group = { pods: new Set(pods), held: new Map(held) };
  for (const other of new Set(pods.flatMap((uid) => groups.get(uid) ?? []))) {
    for (const uid of other.pods) group.pods.add(uid);
    sum(group.held, other.held);
  }
  for (const uid of group.pods) groups.set(uid, group);
}

function sum(total: Map<string, number>, units: HeldUnits): void {
  for (const [key, each] of units) total.set(key, (total.get(key) ?? 0) + each);
}
