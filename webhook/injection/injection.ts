import type { Allocation } from "../../pool/allocation/allocation.ts";
import { MAX_FILTERS } from "../../pool/driver.ts";
import { EXPECTED_FILTER, type Filter, MAX_FILTER_LENGTH, parseFilter, splitFilters } from "../../pool/filter.ts";
import type { Share } from "../../pool/share.ts";
import { UNITS_PER_GPU } from "../../pool/units.ts";
import { quote } from "../../program/text/quote.ts";
import { checkClaimSize, checkShare, type KnownPool } from "../capacity/capacity.ts";
import { createClaimName, injectClaims } from "../claims/pod_claims.ts";
import { type Catalogue, type ClientDefinition, isSidecarClient } from "../clients/catalogue.ts";
import { chooseClient } from "../clients/choose_client.ts";
import { claimNeeds } from "../clients/claim_needs.ts";
import { ANNOTATIONS, UNITS } from "../pod/keys.ts";
import type { Mode } from "../pod/mode.ts";
import { withNode } from "../pod/node_affinity.ts";
import { type Container, containersOf, type Pod, quantityOf } from "../pod/pod.ts";
import { Refusal } from "../pod/refusal.ts";
import { isInjected, readShare } from "../pod/requested_share.ts";
import type { Needs, PatchOperation } from "../review/review.ts";
import type { GpuContainer } from "./attachment.ts";
import { addClaims, withClaims } from "./claims.ts";
import { missingFrom } from "./collisions.ts";
import { attachByCopy } from "./copy/attach_copy.ts";
import { refuseMountCollisions } from "./mount_collisions.ts";
import { createPatchBuilder } from "./patch_builder.ts";
import { attachBySidecar } from "./sidecar/attach_sidecar.ts";
import { countUnits, withUnits } from "./units.ts";

export interface InjectionSettings {
  readonly catalogue: Catalogue;
  /** Memory of one GPU, in MB. Memory shares are refused without it. */
  readonly gpuMemoryMb?: number;
  /** `units` by default. */
  readonly allocation?: Allocation;
  readonly pool?: KnownPool;
  /** Whether `nvidia.com/gpu` requests GPUs of the pool. It does by default. */
  readonly readNvidiaGpu?: boolean;
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
  const containers = [...gpuContainers.map(({ container }) => container), ...injected];
  const client = chooseClient(settings.catalogue, { annotations, mode, allocation, containers });
  const filters = splitFilters(annotations[ANNOTATIONS.filter]);
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
  const attachment = isSidecarClient(client)
    ? attachBySidecar(pod, gpuContainers, { client, claims: [...new Set(claims?.references.values())] })
    : attachByCopy(pod, gpuContainers, { client, mode, allocation, filters });
  for (const [index, gpuContainer] of gpuContainers.entries()) {
    const { container, path, share } = gpuContainer;
    const resources = withUnits(container, units[index] ?? 0);
    if (allocation === "units") checkLease(container, share, filters, settings.pool);
    else checkClaimSize(container, share);
    const claim = claims?.references.get(container.name);
    if (claim !== undefined) resources.claims = [...withClaims(container, [claim])];
    patch.set(`${path}/resources`, container.resources, resources);
    refuseMountCollisions(pod, container, attachment.mounts);
    attachment.attachTo(patch, gpuContainer);
    const mounts = attachment.mounts.map(({ mount }) => mount);
    patch.append(`${path}/volumeMounts`, container.volumeMounts, mounts);
  }
  const warnings = gpuContainers.length > 0 ? [...attachment.warnings] : [];
  if (gpuContainers.length > 0 && injected.length === 0 && annotations[ANNOTATIONS.status] !== undefined) {
    warnings.push(`Annotation ${ANNOTATIONS.status} is set by the webhook: its value was ignored`);
  }
  if (allocation === "claims") {
    if (claims) addClaims(patch, pod, claims);
    if (spec.nodeName) {
      patch.set("/spec/affinity", spec.affinity, withNode(spec.affinity, spec.nodeName));
      patch.set("/spec/nodeName", spec.nodeName, "");
      warnings.push("nodeName is replaced by node affinity: with it, the scheduler would give the pod no GPU");
    }
  }
  if (gpuContainers.length > 0) {
    patch.append("/spec/volumes", spec.volumes, missingFrom(spec.volumes, attachment.volumes, "Volume"));
    for (const [key, value] of Object.entries({ [ANNOTATIONS.status]: "injected", ...attachment.annotations })) {
      patch.set(`/metadata/annotations/${key.replaceAll("/", "~1")}`, annotations[key], value);
    }
    attachment.addContainer(patch); // last: it shifts the paths of the other init containers
  }
  return {
    patch: patch.build(),
    containers: containers.map(({ name }) => name),
    needs: attachment.needs,
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
