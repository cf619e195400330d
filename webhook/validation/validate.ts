import type { Allocation } from "../../pool/allocation/allocation.ts";
import { formatFilter } from "../../pool/filter.ts";
import { POD_CLAIMS_ANNOTATION, type PodClaim } from "../../pool/pod_claims.ts";
import { quote } from "../../program/text/quote.ts";
import { checkClaims, checkUnits, type KnownPool } from "../capacity/capacity.ts";
import { checkCoverage, readPodClaims } from "../claims/pod_claims.ts";
import { type Catalogue, isSidecarClient } from "../clients/catalogue.ts";
import { chooseClient } from "../clients/choose_client.ts";
import { type ClaimNeeds, claimNeeds } from "../clients/claim_needs.ts";
import { ANNOTATIONS, NVIDIA_GPU, SHARE_LIMITS, UNITS } from "../pod/keys.ts";
import { type Mode, readMode } from "../pod/mode.ts";
import { requestsNvidiaGpus } from "../pod/nvidia_gpus.ts";
import { type Container, containersOf, isWindows, type Pod, quantityOf } from "../pod/pod.ts";
import { Refusal } from "../pod/refusal.ts";
import { decidePod } from "../review/decide_pod.ts";
import type { AdmissionRequest, Decision } from "../review/review.ts";
import { checkCopy } from "./copy.ts";
import { notInjected } from "./not_injected.ts";
import { checkScheduler } from "./scheduler.ts";
import { checkSidecar } from "./sidecar.ts";
import { checkStorage } from "./storage.ts";

export interface ValidationSettings {
  readonly catalogue: Catalogue;
  readonly pool?: KnownPool;
  /** As for injection. */
  readonly allocation?: Allocation;
  /** As for injection. */
  readonly readNvidiaGpu?: boolean;
  /** Names of schedulers that allocate claims by capacity, beside the default one. */
  readonly schedulers?: readonly string[];
}

/** Decides, after all mutation, whether a pod that relies on the pool will get what it relies on. It reads and writes nothing. */
export function validate(request: AdmissionRequest, settings: ValidationSettings): Decision {
  return decidePod(request, (pod) => {
    const mode = readMode(pod.metadata.annotations ?? {});
    const containers = containersOf(pod);
    for (const container of containers) {
      refuseWithoutInjection(container, mode, pod);
      if (settings.readNvidiaGpu !== false) refuseNvidiaGpus(container, mode, pod);
    }
    const gpuContainers = containers.filter((container) => quantityOf(container, UNITS) !== undefined);
    if (gpuContainers.length === 0) return { result: "allowed", reason: "no_share", message: "No container has units" };
    const { catalogue, allocation = "units" } = settings;
    const { annotations = {} } = pod.metadata;
    const client = chooseClient(catalogue, { annotations, mode, allocation, containers: gpuContainers });
    const claims = readPodClaims(pod);
    if (allocation !== "claims" && claims.length > 0) {
      throw notInjected(`Annotation ${POD_CLAIMS_ANNOTATION} is of a cluster that shares its pool by claims`);
    }
    if (isSidecarClient(client)) checkSidecar(pod, gpuContainers, client);
    else checkCopy(pod, gpuContainers, mode, client);
    if (allocation === "claims") {
      refuseNodeName(pod);
      for (const container of gpuContainers) checkClaim(pod, container, claims, claimNeeds(client));
      checkCoverage(pod, claims);
    }
    checkUnits(pod, settings.pool);
    if (allocation === "claims") checkClaims(pod, settings.pool);
    const warnings = [
      isSidecarClient(client) ? undefined : checkStorage(pod, client),
      allocation === "claims" ? checkScheduler(pod, settings.schedulers) : undefined,
    ].filter((warning) => warning !== undefined);
    return {
      result: "allowed",
      reason: "valid",
      message: "Injected completely",
      ...(warnings.length > 0 ? { warnings } : {}),
    };
  });
}

/**
 * The mutating webhook replaces the limits that request a share. One that is still there would not be counted, and the pod would never get
 * a GPU.
 */
function refuseWithoutInjection(container: Container, mode: Mode, pod: Pod): void {
  const key = [...Object.values(SHARE_LIMITS), UNITS].find((limit) => quantityOf(container, limit) !== undefined);
  if (!key) return;
  if (key === UNITS && mode !== "off" && !isWindows(pod)) return;
  const field = `Container ${quote(container.name)}: ${key} is ${quote(quantityOf(container, key) ?? "")}`;
  if (isWindows(pod)) throw new Refusal("share", `${field}: there is no client for Windows`);
  if (mode === "off") {
    throw new Refusal(
      "share",
      `${field}, which has no effect without the annotation ${ANNOTATIONS.mode}: "yes" on the pod`,
    );
  }
  throw addedLater(field);
}

/** The mutating webhook replaces these GPUs by a share. In pods that it leaves alone, they are those of nodes. */
function refuseNvidiaGpus(container: Container, mode: Mode, pod: Pod): void {
  if (mode === "off" || isWindows(pod) || !requestsNvidiaGpus(container)) return;
  const gpus = quantityOf(container, NVIDIA_GPU) ?? "";
  throw addedLater(`Container ${quote(container.name)}: ${NVIDIA_GPU} is ${quote(gpus)}`);
}

function addedLater(field: string): Refusal {
  return new Refusal(
    "injection",
    `${field}, which was added after the webhook had patched the pod: expected it in the pod as it is created`,
  );
}

/** Without its claim, a container's units would be counted, but the scheduler would reserve no GPU for it. */
function checkClaim(
  { spec }: Pod,
  { name, resources }: Container,
  claims: readonly PodClaim[],
  needs: ClaimNeeds,
): void {
  const claim = claims.find(({ containers }) => containers.includes(name));
  const reference = claim && spec.resourceClaims?.find(({ resourceClaimName }) => resourceClaimName === claim.name);
  if (!reference || !resources?.claims?.some((each) => each.name === reference.name)) {
    throw notInjected(`Container ${quote(name)} has no resource claim`);
  }
  const filters = claim.filters.map(formatFilter);
  const missing = needs.filters.map(formatFilter).find((filter) => !filters.includes(filter));
  if (missing) throw notInjected(`The claim of container ${quote(name)} has no filter ${missing}`);
  if (needs.oneServer && !claim.oneServer) {
    throw notInjected(`The claim of container ${quote(name)} may have GPUs of several servers`);
  }
}

/** The scheduler, which allocates claims, ignores a pod that has a node. */
function refuseNodeName({ spec: { nodeName } }: Pod): void {
  if (nodeName) throw notInjected(`spec.nodeName is ${quote(nodeName)}, with which the scheduler gives the pod no GPU`);
}
