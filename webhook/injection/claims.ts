import type { Share } from "../../pool/share.ts";
import { type ClaimTemplate, claimNameOf, shareOfTemplate } from "../claims/claim.ts";
import type { Container, Pod } from "../pod/pod.ts";
import type { GpuContainer } from "./attach_client.ts";
import { missingFrom } from "./collisions.ts";
import type { PatchBuilder } from "./patch_builder.ts";
import { countUnits, withUnits } from "./units.ts";

/**
 * Adds a claim to the pod for each GPU container: two containers with the same share hold one each.
 *
 * @param templates of the containers, in their order
 * @throws {Refusal} if the pod has another claim of that name.
 */
export function addClaims(
  patch: PatchBuilder,
  { spec: { resourceClaims } }: Pod,
  gpuContainers: readonly GpuContainer[],
  templates: readonly ClaimTemplate[],
): void {
  const claims = gpuContainers.map(({ container }, index) => ({
    name: claimNameOf(container.name),
    resourceClaimTemplateName: templates[index]?.name,
  }));
  patch.append("/spec/resourceClaims", resourceClaims, missingFrom(resourceClaims, claims, "Resource claim"));
}

/** The claims that a container uses, with that of its share. */
export function withClaim({ name, resources }: Container): { name: string }[] {
  const claim = { name: claimNameOf(name) };
  const claims = resources?.claims ?? [];
  return missingFrom(claims, [claim], "Claim").length > 0 ? [...claims, claim] : claims;
}

export interface RenewalOptions {
  readonly templateOf: (share: Share) => ClaimTemplate;
  /** Memory of one GPU in MB, if it is configured. */
  readonly gpuMemoryMb: number | undefined;
}

/**
 * Makes a container that was injected before reference the claim template of its share as it is now: a backup may be older than the pool's
 * settings and than this program. Returns that template; none if the container has no claim, which the validating webhook refuses.
 *
 * @throws {Refusal} if the share is not worth the container's units any more.
 */
export function renewTemplate(
  patch: PatchBuilder,
  { spec: { resourceClaims = [] } }: Pod,
  container: Container,
  { templateOf, gpuMemoryMb }: RenewalOptions,
): ClaimTemplate[] {
  const index = resourceClaims.findIndex(({ name }) => name === claimNameOf(container.name));
  const name = resourceClaims[index]?.resourceClaimTemplateName;
  const share = shareOfTemplate(name ?? "");
  if (!share) return [];
  withUnits(container, countUnits(container, share, gpuMemoryMb));
  const template = templateOf(share);
  patch.set(`/spec/resourceClaims/${index}/resourceClaimTemplateName`, name, template.name);
  return [template];
}
