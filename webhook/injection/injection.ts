import type { Allocation } from "../../pool/allocation/allocation.ts";
import { MAX_FILTERS } from "../../pool/driver.ts";
import { EXPECTED_FILTER, type Filter, MAX_FILTER_LENGTH, parseFilter, splitFilters } from "../../pool/filter.ts";
import type { Share } from "../../pool/share.ts";
import { UNITS_PER_GPU } from "../../pool/units.ts";
import { escapeControls, quote } from "../../program/text/quote.ts";
import { checkClaimSize, checkShare, type KnownPool } from "../capacity/capacity.ts";
import { createClaimName, injectClaims } from "../claims/pod_claims.ts";
import { type Catalogue, type ClientDefinition, chooseClient } from "../clients/catalogue.ts";
import { claimNeeds } from "../clients/claim_needs.ts";
import { ANNOTATIONS, UNITS } from "../pod/keys.ts";
import type { Mode } from "../pod/mode.ts";
import { withNode } from "../pod/node_affinity.ts";
import { type Container, containersOf, type Pod, quantityOf } from "../pod/pod.ts";
import { Refusal } from "../pod/refusal.ts";
import { isInjected, readShare } from "../pod/requested_share.ts";
import type { Needs, PatchOperation } from "../review/review.ts";
import { attachClient, type ClientInjection, type GpuContainer } from "./attach_client.ts";
import { addClaims, withClaim } from "./claims.ts";
import { clientVolumes, withEvictableVolumes } from "./client_volumes.ts";
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
  readonly pool?: KnownPool;
  /** Creates the names of ResourceClaims. Random by default. */
  readonly createClaimName?: () => string;
}

/** What a pod with shares needs. */
export interface Injection {
  readonly patch: readonly PatchOperation[];
  /** Names of the containers that have a share. */
  readonly containers: readonly string[];
  readonly needs: Needs;
  /** Warnings for the user. At most 120 characters each. */
  readonly warnings: readonly string[];
}

/**
 * Attaches the pool's client to the GPU containers of a pod. Undefined if no container has a share. The patch is computed from the raw pod, so
 * that no field is lost. Injection is idempotent: a container that was injected before is left alone. Such a pod may come from a backup or
 * another namespace, and needs there what it needed in its own. Its claims get new names: they are not those of the pod that it was copied from.
 *
 * @throws {Refusal} if the pod must be changed first.
 */
export function inject(pod: Pod, mode: Exclude<Mode, "off">, settings: InjectionSettings): Injection | undefined {
  const { metadata, spec } = pod;
  const { annotations = {} } = metadata;
  const gpuContainers = gpuContainersOf(pod);
  const injected = injectedContainersOf(pod, gpuContainers);
  if (gpuContainers.length + injected.length === 0) return undefined;

  const { allocation = "units", gpuMemoryMb, createClaimName: createName = createClaimName } = settings;
  const client = chooseClient(settings.catalogue, annotations, allocation);
  const filters = splitFilters(annotations[ANNOTATIONS.filter]);
  const injection: ClientInjection = { client, mode, allocation, filters };
  const patch = createPatchBuilder();
  const units = gpuContainers.map(({ container, share }) => countUnits(container, share, gpuMemoryMb));
  const claiming = gpuContainers.map(({ container, share }, index) => ({
    container,
    share,
    units: (units[index] ?? 0) / share.gpus,
  }));
  const claims =
    allocation === "claims"
      ? injectClaims(pod, claiming, {
          filters: readFilters(filters, client),
          oneServer: claimNeeds(client).oneServer,
          client: client.name,
          createName,
        })
      : undefined;
  for (const [index, gpuContainer] of gpuContainers.entries()) {
    const { container, path, share } = gpuContainer;
    const resources = withUnits(container, units[index] ?? 0);
    if (allocation === "units") checkLease(container, share, filters, settings.pool);
    else checkClaimSize(container, share);
    const claim = claims?.references.get(container.name);
    if (claim !== undefined) resources.claims = withClaim(container, claim);
    patch.set(`${path}/resources`, container.resources, resources);
    refuseMountCollisions(pod, container, client);
    attachClient(patch, gpuContainer, injection);
  }
  const warnings = gpuContainers.length > 0 ? warningsAbout(pod, gpuContainers, injection) : [];
  if (allocation === "claims") {
    if (claims) addClaims(patch, pod, claims);
    if (spec.nodeName) {
      patch.set("/spec/affinity", spec.affinity, withNode(spec.affinity, spec.nodeName));
      patch.set("/spec/nodeName", spec.nodeName, "");
      warnings.push("nodeName is replaced by node affinity: with it, the scheduler would give the pod no GPU");
    }
  }
  if (gpuContainers.length > 0) {
    patch.append("/spec/volumes", spec.volumes, missingFrom(spec.volumes, clientVolumes(client), "Volume"));
    const annotate = (key: string, value: string) =>
      patch.set(`/metadata/annotations/${key.replace("/", "~1")}`, annotations[key], value);
    annotate(ANNOTATIONS.status, "injected");
    annotate(ANNOTATIONS.evictableVolumes, withEvictableVolumes(annotations[ANNOTATIONS.evictableVolumes], client));
    addInitContainer(patch, pod, gpuContainers, injection); // last: it shifts the paths of the other init containers
  }
  return {
    patch: patch.build(),
    containers: [...gpuContainers.map(({ container }) => container), ...injected].map(({ name }) => name),
    needs: { tokens: client.tokens },
    warnings,
  };
}

/** The containers that were injected before. */
function injectedContainersOf(pod: Pod, gpuContainers: readonly GpuContainer[]): Container[] {
  return containersOf(pod).filter(
    (container) =>
      isInjected(container) &&
      quantityOf(container, UNITS) !== undefined &&
      !gpuContainers.some((each) => each.container === container),
  );
}

/**
 * Without claims, the servers decide when the container runs: they lease any units of GPUs that all known filters select. Containers of a
 * pod may wait for each other, and still end.
 *
 * @throws {Refusal} if the servers could never lease the share.
 */
function checkLease(container: Container, share: Share, filters: readonly string[], pool: KnownPool): void {
  const known = filters.flatMap((text) => parseFilter(text) ?? []);
  checkShare(container, { count: share.gpus, units: UNITS_PER_GPU, share, filters: known }, pool);
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

/**
 * The filters of a claim: those of the pod, and those that its client needs.
 *
 * @throws {Refusal} for more than a claim can have, and for a filter that the devices of the pool have no attribute for. Clients may know
 * more filters.
 */
function readFilters(texts: readonly string[], client: ClientDefinition): Filter[] {
  const field = `Annotation ${ANNOTATIONS.filter} has`;
  const needed = claimNeeds(client).filters;
  if (texts.length + needed.length > MAX_FILTERS) {
    const others = needed.length > 0 ? `, beside ${needed.length} of the client ${client.name}` : "";
    const limit = `expected at most ${MAX_FILTERS - needed.length}, the limit of a ResourceClaim of Kubernetes${others}`;
    throw new Refusal("filter", `${field} ${texts.length} filters: ${limit}`);
  }
  const filters = texts.map((text) => {
    if (text.length > MAX_FILTER_LENGTH) {
      throw new Refusal("filter", `${field} ${quote(text)}: expected at most ${MAX_FILTER_LENGTH} characters`);
    }
    const filter = parseFilter(text);
    if (!filter) throw new Refusal("filter", `${field} ${quote(text)}: ${EXPECTED_FILTER}`);
    return filter;
  });
  return [...filters, ...needed];
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
    const containers = escapeControls(replaced.map(({ container }) => container.name).join(", "));
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
