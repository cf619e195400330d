import { claimsOfPod, type Pod, type PodStatus, podPath } from "../objects/pod.ts";
import { claimPath, type ResourceClaim } from "../objects/resource_claim.ts";
import type { ObjectStore } from "./objects.ts";

/** Changes the status of a pod as it is stored now. Does nothing if the pod was deleted. */
export function setPodStatus(store: ObjectStore, pod: Pod, status: PodStatus): void {
  const current = store.get<Pod>(podPath(pod));
  if (current) store.put(podPath(pod), { ...current, status: { ...current.status, ...status } });
}

/** The claim of a pod by its name in the pod. Undefined if it does not exist yet. */
export function claimOf(store: ObjectStore, pod: Pod, name: string): ResourceClaim | undefined {
  const claim = claimsOfPod(pod).get(name);
  return claim === undefined ? undefined : store.get<ResourceClaim>(claimPath(pod.metadata.namespace, claim));
}
