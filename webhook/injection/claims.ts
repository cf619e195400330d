import { POD_CLAIMS_ANNOTATION } from "../../pool/pod_claims.ts";
import type { ClaimInjection } from "../claims/pod_claims.ts";
import type { Container, Pod } from "../pod/pod.ts";
import { missingFrom } from "./collisions.ts";
import type { PatchBuilder } from "./patch_builder.ts";

/**
 * Adds claims to a pod, and the annotation that tells the controller what they are for.
 *
 * @throws {Refusal} if the pod has another claim of the same name.
 */
export function addClaims(
  patch: PatchBuilder,
  { metadata, spec }: Pod,
  { existing, added, annotation }: ClaimInjection,
): void {
  const all = [...existing, ...missingFrom(existing, added, "Resource claim")];
  patch.set("/spec/resourceClaims", spec.resourceClaims, all);
  const path = `/metadata/annotations/${POD_CLAIMS_ANNOTATION.replaceAll("/", "~1")}`;
  patch.set(path, metadata.annotations?.[POD_CLAIMS_ANNOTATION], annotation);
}

/** The claims that a container uses, with these. */
export function withClaims({ resources }: Container, names: readonly string[]): readonly { name: string }[] {
  const own = resources?.claims ?? [];
  return [...own, ...names.filter((name) => !own.some((claim) => claim.name === name)).map((name) => ({ name }))];
}
