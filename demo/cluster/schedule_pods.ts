import { PODS, type Pod, podPath } from "../../kubernetes/objects/pod.ts";
import { claimPath, RESOURCE_CLAIMS, type ResourceClaim } from "../../kubernetes/objects/resource_claim.ts";
import { RESOURCE_SLICES, type ResourceSlice } from "../../kubernetes/objects/resource_slice.ts";
import type { ObjectStore } from "../../kubernetes/simulated/objects.ts";
import { claimOf } from "../../kubernetes/simulated/pods.ts";
import { allocate } from "../scheduler.ts";

/**
 * One round of the simulated scheduler: binds each pod whose claims can all be allocated to the node. The other pods
 * stay pending.
 */
export function schedulePods(store: ObjectStore, nodeName: string): void {
  for (const pod of store.list<Pod>(PODS)) {
    if (pod.spec.nodeName !== undefined) continue;
    const claims = (pod.spec.resourceClaims ?? []).map(({ name }) => claimOf(store, pod, name));
    if (claims.every((claim) => claim !== undefined)) schedulePod(store, { pod, claims, nodeName });
  }
}

interface PendingPod {
  readonly pod: Pod;
  readonly claims: readonly ResourceClaim[];
  readonly nodeName: string;
}

function schedulePod(store: ObjectStore, { pod, claims, nodeName }: PendingPod): void {
  const slices = store.list<ResourceSlice>(RESOURCE_SLICES);
  const held = store
    .list<ResourceClaim>(RESOURCE_CLAIMS)
    .flatMap(({ status }) => status?.allocation?.devices?.results ?? []);
  const allocations = allocate(claims, { slices, held });
  if (!allocations) return;
  const { name, uid } = pod.metadata;
  for (const [index, claim] of claims.entries()) {
    const allocation = { devices: { results: allocations[index] } };
    const reservedFor = [{ resource: "pods", name, uid }];
    const { namespace = "", name: claimName } = claim.metadata;
    store.put(claimPath(namespace, claimName), { ...claim, status: { allocation, reservedFor } });
  }
  store.put(podPath(pod), { ...pod, spec: { ...pod.spec, nodeName } });
}
