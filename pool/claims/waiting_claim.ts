import { parseInteger } from "../../kubernetes/formats/quantity.ts";
import type { OwnerReference } from "../../kubernetes/objects/owner_reference.ts";
import type { ResourceClaim, ResourceClaimSpec } from "../../kubernetes/objects/resource_claim.ts";
import { shorten } from "../../program/text/quote.ts";
import { CLAIM_ANNOTATIONS, DEVICE_CLASS, MAX_FILTERS, SERVER_ATTRIBUTE } from "../driver.ts";
import { MAX_FILTER_LENGTH, parseFilter, splitFilters } from "../filter.ts";
import { isContainerName, isObjectName } from "../names.ts";
import type { GpuRequest } from "../requests/gpu_request.ts";
import { parseShare } from "../share.ts";
import { UNITS_PER_GPU } from "../units.ts";

/** A claim that the scheduler has not allocated yet. */
export interface WaitingClaim {
  readonly namespace: string;
  /** ms since the epoch. */
  readonly createdAt: number;
  /** What the claim is for, in messages: `the claim of main`. */
  readonly description: string;
  /** The pod that the claim was created for. */
  readonly pod: OwnerReference | undefined;
  readonly request: WaitingRequest;
}

export interface WaitingRequest extends GpuRequest {
  /** Equal for requests that ask for the same. */
  readonly key: string;
}

/** Longest annotation that the controller writes, in characters: the filters of a claim, separated by spaces. */
const MAX_ANNOTATION = MAX_FILTERS * (MAX_FILTER_LENGTH + 1);

/** Undefined for a claim that is allocated, is being deleted, or asks for devices of other classes only. */
export function waitingClaim({ metadata, spec, status }: ResourceClaim): WaitingClaim | undefined {
  if (status?.allocation || metadata.deletionTimestamp) return undefined;
  const request = spec.devices?.requests?.find(({ exactly }) => exactly?.deviceClassName === DEVICE_CLASS)?.exactly;
  if (!request) return undefined;
  const { count = 1, capacity } = request;
  const oneServer = takesOneServer(spec);
  const units = parseInteger(capacity?.requests?.units ?? "") ?? UNITS_PER_GPU;
  const { namespace = "", ownerReferences } = metadata;
  const annotations = readableAnnotations(metadata.annotations);
  const {
    [CLAIM_ANNOTATIONS.share]: share = "",
    [CLAIM_ANNOTATIONS.filter]: filter = "",
    [CLAIM_ANNOTATIONS.containers]: containers,
  } = annotations;
  return {
    namespace,
    createdAt: Date.parse(metadata.creationTimestamp ?? ""),
    description: describeClaim(metadata.name, containers),
    pod: ownerReferences?.find(({ kind, name }) => kind === "Pod" && isObjectName(name)),
    request: {
      count,
      units,
      share: parseShare(share) ?? { gpus: count, percent: units },
      filters: splitFilters(filter).flatMap((text) => parseFilter(text) ?? []),
      oneServer,
      key: [count, units, share, filter, oneServer].join(" "),
    },
  };
}

/**
 * The annotations that the controller could have written. Tenants can write any, and the controller keeps some of the text for as long as
 * the claim waits.
 */
function readableAnnotations(annotations: Readonly<Record<string, string>> = {}): Record<string, string> {
  return Object.fromEntries(Object.entries(annotations).filter(([, text]) => text.length <= MAX_ANNOTATION));
}

function describeClaim(name: string, containers = ""): string {
  const names = containers.split(" ");
  return names.every(isContainerName) ? `the claim of ${shorten(names.join(" and "))}` : `claim ${name}`;
}

/** Whether a claim takes GPUs of one server only. */
function takesOneServer({ devices }: ResourceClaimSpec): boolean {
  return devices?.constraints?.some(({ matchAttribute }) => matchAttribute === SERVER_ATTRIBUTE) ?? false;
}
