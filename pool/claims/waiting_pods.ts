import type { OwnerReference } from "../../kubernetes/objects/owner_reference.ts";
import type { WaitingClaim } from "./waiting_claim.ts";

/** A pod with claims that the scheduler has not allocated yet. It allocates all of them at the same time. */
export interface WaitingPod {
  readonly namespace: string;
  readonly pod: OwnerReference;
  /** In the order of their names. */
  readonly claims: readonly WaitingClaim[];
}

/** Groups waiting claims by the pods that they were created for, by namespace and uid. A claim without a pod is left out. */
export function groupByPod(waiting: Iterable<WaitingClaim>): Map<string, WaitingPod> {
  const pods = new Map<string, { namespace: string; pod: OwnerReference; claims: WaitingClaim[] }>();
  for (const claim of waiting) {
    const { namespace, pod } = claim;
    if (!pod) continue;
    const key = `${namespace}/${pod.uid}`;
    const known = pods.get(key);
    if (known) known.claims.push(claim);
    else pods.set(key, { namespace, pod, claims: [claim] });
  }
  for (const { claims } of pods.values()) claims.sort((a, b) => (a.description < b.description ? -1 : 1));
  return pods;
}
