import type { GpuRequest } from "../../pool/requests/gpu_request.ts";
import { readPodClaims } from "../claims/pod_claims.ts";
import { type Container, containersOf, type Pod } from "../pod/pod.ts";

/** What a claim of a pod requests from the pool. */
export interface ClaimRequest extends GpuRequest {
  /** The containers that use the claim, init containers first. */
  readonly containers: readonly Container[];
}

/**
 * What the claims of an injected pod request. Kubernetes allocates all of them before the pod starts, and frees them when it has ended.
 *
 * @throws {Refusal} if the pod's annotation is not as the webhook writes it.
 */
export function claimRequests(pod: Pod): ClaimRequest[] {
  const all = containersOf(pod);
  return readPodClaims(pod).map(({ containers, share, units, filters, oneServer }) => ({
    count: share.gpus,
    units,
    share,
    filters,
    oneServer: oneServer ?? false,
    containers: all.filter(({ name }) => containers.includes(name)),
  }));
}
