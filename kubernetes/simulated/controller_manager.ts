import { hasEnded, PODS, type Pod } from "../objects/pod.ts";
import { claimPath, RESOURCE_CLAIMS, type ResourceClaim } from "../objects/resource_claim.ts";
import type { ObjectStore } from "./objects.ts";

/**
 * One round of the ResourceClaim controller of kube-controller-manager (pkg/controller/resourceclaim): deletes the claims of pods that have
 * ended or are gone.
 */
export function reconcileClaims(store: ObjectStore): void {
  const pods = store.list<Pod>(PODS).filter((pod) => !hasEnded(pod));
  const owners = new Set(pods.map(({ metadata }) => metadata.uid));
  for (const { metadata } of store.list<ResourceClaim>(RESOURCE_CLAIMS)) {
    const owner = metadata.ownerReferences?.find(({ kind }) => kind === "Pod");
    if (owner && !owners.has(owner.uid)) store.remove(claimPath(metadata.namespace ?? "", metadata.name));
  }
}
