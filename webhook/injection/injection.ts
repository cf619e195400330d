import { EXPECTED_FILTER, type Filter, parseFilter, splitFilters } from "../../pool/filter.ts";
import type { Allocation } from "../claims/allocation.ts";
import { type ClaimTemplate, claimNameOf, claimTemplateOf } from "../claims/claim.ts";
import { type Catalogue, chooseClient } from "../clients/catalogue.ts";
import type { JsonObject } from "../pod/json_object.ts";
import { ANNOTATIONS } from "../pod/keys.ts";
import type { Mode } from "../pod/mode.ts";
import type { Container, Pod } from "../pod/pod.ts";
import { Refusal } from "../pod/refusal.ts";
import { readShare } from "../pod/requested_share.ts";
import type { PatchOperation } from "../review/review.ts";
import { attachClient, type ClientInjection, type GpuContainer } from "./attach_client.ts";
import { clientVolumes } from "./client_volumes.ts";
import { missingFrom, refuseContainerName } from "./collisions.ts";
import { hasLibraryPath } from "./environment.ts";
import { INIT_CONTAINER, initContainer, initContainerResources, isInitContainer } from "./init_container.ts";
import { refuseMountCollisions } from "./mount_collisions.ts";
import { createPatchBuilder, type PatchBuilder } from "./patch_builder.ts";
import { countUnits, withUnits } from "./units.ts";

export interface InjectionSettings {
  readonly catalogue: Catalogue;
  /** Memory of one GPU, in MB. Memory shares are refused without it. */
  readonly gpuMemoryMb?: number;
  /** `units` by default. */
  readonly allocation?: Allocation;
}

/** What a pod with shares needs. */
export interface Injection {
  readonly patch: readonly PatchOperation[];
  /** Names of the containers that get a share. */
  readonly containers: readonly string[];
  /** Whether the namespace of the pod needs the pool's token. */
  readonly tokens: boolean;
  /** The claim templates that the namespace of the pod needs, without duplicates. */
  readonly claimTemplates: readonly ClaimTemplate[];
  /** Warnings for the user. At most 120 characters each. */
  readonly warnings: readonly string[];
}

/**
 * Attaches the pool's client to the GPU containers of a pod. Undefined if no container requests a share: this makes injection idempotent,
 * since the patched pod requests none any more. The patch is computed from the raw pod, so that no field is lost.
 *
 * @throws {Refusal} if the pod must be changed first.
 */
export function inject(pod: Pod, mode: Exclude<Mode, "off">, settings: InjectionSettings): Injection | undefined {
  const { metadata, spec } = pod;
  const { annotations = {} } = metadata;
  const gpuContainers = gpuContainersOf(pod);
  if (gpuContainers.length === 0) return undefined;

  const client = chooseClient(settings.catalogue, annotations);
  const filters = splitFilters(annotations[ANNOTATIONS.filter]);
  const { allocation = "units", gpuMemoryMb } = settings;
  const injection: ClientInjection = { client, mode, allocation, filters };
  const patch = createPatchBuilder();
  const templates: ClaimTemplate[] = [];
  for (const gpuContainer of gpuContainers) {
    const { container, path, share } = gpuContainer;
    const resources = withUnits(container, countUnits(container, share, gpuMemoryMb));
    if (allocation === "claims") {
      templates.push(claimTemplateOf(share, { filters: filters.map(readFilter), gpuMemoryMb: gpuMemoryMb ?? 0 }));
      resources.claims = withClaim(container);
    }
    patch.set(`${path}/resources`, container.resources, resources);
    refuseMountCollisions(pod, container, client);
    attachClient(patch, gpuContainer, injection);
  }
  patch.append("/spec/volumes", spec.volumes, missingFrom(spec.volumes, clientVolumes(client), "Volume"));
  if (templates.length > 0) {
    const claims = missingFrom(spec.resourceClaims, podClaimsOf(gpuContainers, templates), "Resource claim");
    patch.append("/spec/resourceClaims", spec.resourceClaims, claims);
  }
  patch.set("/metadata/annotations/auto-management~1status", annotations[ANNOTATIONS.status], "injected");
  addInitContainer(patch, pod, gpuContainers, injection); // last: it shifts the paths of the other init containers
  return {
    patch: patch.build(),
    containers: gpuContainers.map(({ container }) => container.name),
    tokens: client.tokens,
    claimTemplates: [...new Map(templates.map((template) => [template.name, template])).values()],
    warnings: warningsAbout(pod, gpuContainers, injection),
  };
}

function gpuContainersOf({ spec }: Pod): GpuContainer[] {
  const gpuContainers: GpuContainer[] = [];
  for (const list of ["initContainers", "containers"] as const) {
    spec[list]?.forEach((container, index) => {
      const share = readShare(container);
      if (share) gpuContainers.push({ container, path: `/spec/${list}/${index}`, share });
    });
  }
  return gpuContainers;
}

/** @throws {Refusal} for a filter that the devices of the pool have no attribute for. Clients may know more filters. */
function readFilter(text: string): Filter {
  const filter = parseFilter(text);
  if (!filter) throw new Refusal("filter", `Annotation ${ANNOTATIONS.filter} has "${text}": ${EXPECTED_FILTER}`);
  return filter;
}

function warningsAbout(
  pod: Pod,
  gpuContainers: readonly GpuContainer[],
  { client, filters }: ClientInjection,
): string[] {
  const { name, binary, libraryPath } = client;
  const warnings: string[] = [];
  const replaced = gpuContainers.filter(({ container }) => !hasLibraryPath(container.env));
  if (libraryPath !== undefined && replaced.length > 0) {
    const containers = replaced.map(({ container }) => container.name).join(", ");
    warnings.push(
      `LD_LIBRARY_PATH of the image or of envFrom is replaced: to keep it, set it in env of ${containers}`.slice(
        0,
        120,
      ),
    );
  }
  if (
    pod.metadata.annotations?.[ANNOTATIONS.status] !== undefined &&
    !pod.spec.initContainers?.some((container) => isInitContainer(container, client))
  ) {
    warnings.push(`Annotation ${ANNOTATIONS.status} is set by the webhook: its value was ignored`);
  }
  if (filters.length > 0 && binary === undefined) {
    warnings.push(
      `Annotation ${ANNOTATIONS.filter} has no effect: the client ${name} does not wrap commands`.slice(0, 120),
    );
  }
  return warnings;
}

/** One claim per container: two containers with the same share hold one each. */
function podClaimsOf(gpuContainers: readonly GpuContainer[], templates: readonly ClaimTemplate[]): JsonObject[] {
  return gpuContainers.map(({ container }, index) => ({
    name: claimNameOf(container.name),
    resourceClaimTemplateName: templates[index]?.name,
  }));
}

function withClaim({ name, resources }: Container): { name: string }[] {
  const claim = { name: claimNameOf(name) };
  const claims = resources?.claims ?? [];
  return missingFrom(claims, [claim], "Claim").length > 0 ? [...claims, claim] : claims;
}

/** Adds the init container in front of the user's init containers and sidecars, which may use the client. */
function addInitContainer(
  patch: PatchBuilder,
  pod: Pod,
  gpuContainers: readonly GpuContainer[],
  injection: ClientInjection,
): void {
  const { client } = injection;
  const list = pod.spec.initContainers;
  const isUsers = (container: Container) => gpuContainers.some((each) => each.container === container);
  if (list?.some((container) => isInitContainer(container, client) && !isUsers(container))) return;
  refuseContainerName(pod, INIT_CONTAINER);
  const container = { ...initContainer(client), resources: initContainerResources(pod) };
  patch.prepend("/spec/initContainers", list, container);
}
