import { parseInteger } from "../../kubernetes/objects/quantity.ts";
import { parseFilter, splitFilters } from "../../pool/filter.ts";
import type { GpuRequest } from "../../pool/gpu_request.ts";
import type { Share } from "../../pool/share.ts";
import { shareOfTemplate } from "../claims/claim.ts";
import { ANNOTATIONS, UNITS } from "../pod/keys.ts";
import { type Container, containersOf, type Pod, quantityOf } from "../pod/pod.ts";

/** What a claim of a pod requests from the pool. */
export interface ClaimRequest extends GpuRequest {
  /** The containers that use the claim, init containers first. */
  readonly containers: readonly Container[];
}

/**
 * What the claims of an injected pod request. Kubernetes allocates all of them before the pod starts, and frees them when it has ended. A
 * claim that no container uses is left out, like a claim that the webhook has not made.
 */
export function claimRequests(pod: Pod): ClaimRequest[] {
  const filters = splitFilters(pod.metadata.annotations?.[ANNOTATIONS.filter]).flatMap(
    (text) => parseFilter(text) ?? [],
  );
  const all = containersOf(pod);
  return (pod.spec.resourceClaims ?? []).flatMap(({ name, resourceClaimTemplateName = "" }) => {
    const share = shareOfTemplate(resourceClaimTemplateName);
    const containers = all.filter(({ resources }) => resources?.claims?.some((claim) => claim.name === name));
    const [container] = containers;
    if (!share || !container) return [];
    const units = unitsOfEach(share, container);
    return units === undefined ? [] : [{ count: share.gpus, units, share, filters, containers }];
  });
}

/** The units that a share takes of each GPU. For a memory share, only the container's total tells it. */
function unitsOfEach(share: Share, container: Container): number | undefined {
  if ("percent" in share) return share.percent;
  const total = parseInteger(quantityOf(container, UNITS) ?? "");
  return total === undefined ? undefined : total / share.gpus;
}
