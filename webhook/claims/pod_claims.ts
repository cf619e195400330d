import { createHash } from "node:crypto";
import { requestedByPod } from "../../kubernetes/objects/pod.ts";
import type { Filter } from "../../pool/filter.ts";
import {
  formatPodClaims,
  POD_CLAIMS_ANNOTATION,
  type PodClaim,
  parsePodClaims,
  unitsOfClaims,
} from "../../pool/pod_claims.ts";
import type { Share } from "../../pool/share.ts";
import { messageOf } from "../../program/log/log.ts";
import type { JsonObject } from "../pod/json_object.ts";
import { UNITS } from "../pod/keys.ts";
import { type Container, containersOf, type Pod } from "../pod/pod.ts";
import { Refusal } from "../pod/refusal.ts";
import { isInjected } from "../pod/requested_share.ts";

/** A container that needs a claim. */
export interface ClaimingContainer {
  readonly container: Container;
  readonly share: Share;
  /** Units of each of the share's GPUs. */
  readonly units: number;
}

export interface ClaimOptions {
  readonly filters: readonly Filter[];
  /** Whether all GPUs of a claim must be of one server. By default, they may be of several. */
  readonly oneServer?: boolean;
  /** Name of the client. */
  readonly client: string;
  /** Creates the name of a ResourceClaim: one that no other pod has, and that nobody can guess. */
  readonly createName: () => string;
}

/** Creates a random name for a ResourceClaim. */
export function createClaimName(): string {
  return `bitfusion-${crypto.randomUUID()}`;
}

/**
 * The claims of a pod's containers. Containers that run at the same time have a claim each. Init containers run before the app containers:
 * each uses the smallest claim of an app container, or of another init container, that is enough for it. Otherwise the pod would hold both
 * claims for its whole life, while its units count only the larger.
 */
function assignClaims(
  { spec }: Pod,
  containers: readonly ClaimingContainer[],
  { filters, oneServer, client, createName }: ClaimOptions,
): PodClaim[] {
  const claims: AssignedClaim[] = [];
  const sharedByInit: AssignedClaim[] = [];
  const isPlainInit = ({ container }: ClaimingContainer) =>
    container.restartPolicy !== "Always" && (spec.initContainers?.includes(container) ?? false);
  const addClaim = ({ container, share, units }: ClaimingContainer): AssignedClaim => {
    const claim = {
      name: createName(),
      containers: [container.name],
      share,
      units,
      filters,
      client,
      ...(oneServer ? { oneServer } : {}),
    };
    claims.push(claim);
    return claim;
  };
  for (const each of containers.filter((container) => !isPlainInit(container))) {
    const claim = addClaim(each);
    if (each.container.restartPolicy !== "Always") sharedByInit.push(claim);
  }
  for (const each of containers.filter(isPlainInit).sort((a, b) => b.units - a.units)) {
    const [smallest] = sharedByInit
      .filter(({ share }) => isEnough(share, each.share))
      .sort((a, b) => a.units - b.units);
    if (smallest) smallest.containers.push(each.container.name);
    else sharedByInit.push(addClaim(each));
  }
  return claims;
}

interface AssignedClaim extends PodClaim {
  readonly containers: string[];
}

/** Whether a container that requests one share can use a claim for another one. */
function isEnough(share: Share, requested: Share): boolean {
  if (share.gpus !== requested.gpus) return false;
  if ("percent" in share && "percent" in requested) return share.percent >= requested.percent;
  return "memoryMb" in share && "memoryMb" in requested && share.memoryMb >= requested.memoryMb;
}

/** What a pod needs for its claims. */
export interface ClaimInjection {
  /** The pod's own resource claims. Those of an earlier injection refer to new ResourceClaims. */
  readonly existing: readonly JsonObject[];
  /** The resource claims that the pod needs in addition. */
  readonly added: readonly JsonObject[];
  /** Value of the annotation. */
  readonly annotation: string;
  /** The resource claim that each container needs, by the container's name. */
  readonly references: ReadonlyMap<string, string>;
}

/**
 * The claims of a pod: those of `containers`, and those of containers that the webhook has injected before, under new names. A pod that is
 * made from the JSON of another one gets claims of its own. Undefined if the pod needs no claims.
 *
 * @throws {Refusal} if the pod has injected containers, but not the annotation as the webhook writes it.
 */
export function injectClaims(
  pod: Pod,
  containers: readonly ClaimingContainer[],
  options: ClaimOptions,
): ClaimInjection | undefined {
  const renamed = renamedClaims(pod, options.createName);
  const claims = assignClaims(pod, containers, options);
  if (renamed.size === 0 && claims.length === 0) return undefined;
  return {
    existing: (pod.spec.resourceClaims ?? []).map((claim) => {
      const resourceClaimName = renamed.get(claim.resourceClaimName ?? "")?.name;
      return resourceClaimName === undefined ? claim : { ...claim, resourceClaimName };
    }),
    added: claims.map((claim) => ({ name: claimReference(claim), resourceClaimName: claim.name })),
    annotation: formatPodClaims([...renamed.values(), ...claims]),
    references: new Map(claims.flatMap((claim) => claim.containers.map((name) => [name, claimReference(claim)]))),
  };
}

/** The claims of containers that are injected already, with new names, by the names that they had. */
function renamedClaims(pod: Pod, createName: () => string): Map<string, PodClaim> {
  const injected = new Set(
    containersOf(pod)
      .filter(isInjected)
      .map(({ name }) => name),
  );
  if (injected.size === 0) return new Map();
  return new Map(
    readPodClaims(pod).flatMap((claim) => {
      const containers = claim.containers.filter((container) => injected.has(container));
      return containers.length > 0 ? [[claim.name, { ...claim, name: createName(), containers }]] : [];
    }),
  );
}

/** The name by which the containers of a claim refer to it: a DNS label. */
function claimReference({ containers: [container = ""] }: Pick<PodClaim, "containers">): string {
  const name = `bitfusion-${container}`;
  if (name.length <= 63) return name;
  return `bitfusion-${createHash("sha256").update(container).digest("hex").slice(0, 16)}`;
}

/**
 * The claims in a pod's annotation. None without the annotation.
 *
 * @throws {Refusal} if the annotation is not as the webhook writes it.
 */
export function readPodClaims({ metadata }: Pod): PodClaim[] {
  const text = metadata.annotations?.[POD_CLAIMS_ANNOTATION];
  if (text === undefined) return [];
  try {
    return parsePodClaims(text);
  } catch (error) {
    throw new Refusal("claims", `Annotation ${messageOf(error)}; leave it out, the webhook sets it`);
  }
}

/**
 * Refuses a pod whose claims hold more units than it requests: the driver would not prepare them.
 *
 * @throws {Refusal}
 */
export function checkCoverage(pod: Pod, claims: readonly PodClaim[]): void {
  const needed = unitsOfClaims(claims);
  const counted = requestedByPod(pod, UNITS);
  if (needed <= counted) return;
  const list = claims.map(({ containers, share, units }) => `${share.gpus * units} for ${containers.join(" and ")}`);
  throw new Refusal(
    "claims",
    `The pod's claims hold ${needed} units of ${UNITS} for its whole life (${list.join(", ")}), but it requests ${counted}: give init containers at most the share of an app container`,
  );
}
