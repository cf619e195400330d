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
import { formatShare, type Share } from "../../pool/share.ts";
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
 * each uses the claim of an app container or of another init container that requests the same share. Otherwise the pod would hold both claims
 * for its whole life, while its units count only the larger.
 */
function assignClaims(
  { spec }: Pod,
  containers: readonly ClaimingContainer[],
  { filters, client, createName }: ClaimOptions,
): PodClaim[] {
  const claims: (PodClaim & { readonly containers: string[] })[] = [];
  const sharedByInit = new Map<string, string[]>();
  const isPlainInit = (container: Container) =>
    container.restartPolicy !== "Always" && (spec.initContainers?.includes(container) ?? false);
  const addClaim = ({ container, share, units }: ClaimingContainer): string[] => {
    const users = [container.name];
    claims.push({ name: createName(), containers: users, share, units, filters, client });
    return users;
  };
  const [plainInit, running] = partition(containers, ({ container }) => isPlainInit(container));
  for (const each of running) {
    const users = addClaim(each);
    const key = formatShare(each.share);
    if (each.container.restartPolicy !== "Always" && !sharedByInit.has(key)) sharedByInit.set(key, users);
  }
  for (const each of plainInit) {
    const key = formatShare(each.share);
    const users = sharedByInit.get(key);
    if (users) users.push(each.container.name);
    else sharedByInit.set(key, addClaim(each));
  }
  return claims;
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
    `The pod's claims hold ${needed} units of ${UNITS} for its whole life (${list.join(", ")}), but it requests ${counted}: give init containers the same share as an app container`,
  );
}

function partition<T>(list: readonly T[], isFirst: (element: T) => boolean): [T[], T[]] {
  return [list.filter(isFirst), list.filter((element) => !isFirst(element))];
}
