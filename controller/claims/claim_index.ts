import type { OwnerReference } from "../../kubernetes/objects/owner_reference.ts";
import { parseInteger } from "../../kubernetes/objects/quantity.ts";
import type { ResourceClaim } from "../../kubernetes/objects/resource_claim.ts";
import type { ObjectChange } from "../../kubernetes/watch.ts";
import { CLAIM_ANNOTATIONS, DEVICE_CLASS, DRIVER, MAX_FILTERS } from "../../pool/driver.ts";
import { MAX_FILTER_LENGTH, parseFilter, splitFilters } from "../../pool/filter.ts";
import { isContainerName, isObjectName } from "../../pool/names.ts";
import type { GpuRequest } from "../../pool/requests/gpu_request.ts";
import { parseShare } from "../../pool/share.ts";
import { UNITS_PER_GPU } from "../../pool/units.ts";
import { shorten } from "../../program/text/quote.ts";
import { deviceKey, type HeldUnits } from "../slices/device_key.ts";
import { takesOneServer } from "./claim_spec.ts";
import { type ClaimState, stateOf } from "./claim_state.ts";

/** A claim that the scheduler has not allocated yet. */
export interface WaitingClaim {
  readonly namespace: string;
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

/** What the controller keeps of a claim. */
export interface ClaimSummary {
  /** Units of the driver's devices, by {@link deviceKey}. */
  readonly held: HeldUnits;
  readonly waiting: WaitingClaim | undefined;
  readonly state: ClaimState;
}

/** Longest annotation that the controller writes, in characters: the filters of a claim, separated by spaces. */
const MAX_ANNOTATION = MAX_FILTERS * (MAX_FILTER_LENGTH + 1);

/** Who holds units of the pool, and who waits for some. It follows a watch without copying what has not changed. */
export interface ClaimIndex {
  readonly held: HeldUnits;
  /** By namespace/name of the claim. */
  readonly waiting: ReadonlyMap<string, WaitingClaim>;
  /** The state of a claim that holds or waits for units, by namespace/name. */
  state(key: string): ClaimState | undefined;
  /** Whether all claims are known. */
  readonly isSynced: boolean;
  /** Applies a change, and returns the keys of devices that no claim holds any more. */
  apply(change: ObjectChange<ClaimSummary>): string[];
}

export function createClaimIndex(): ClaimIndex {
  let summaries = new Map<string, ClaimSummary>();
  let isSynced = false;
  const held = new Map<string, number>();
  const waiting = new Map<string, WaitingClaim>();

  function add(key: string, summary: ClaimSummary): void {
    summaries.set(key, summary);
    for (const [device, units] of summary.held) held.set(device, (held.get(device) ?? 0) + units);
    if (summary.waiting) waiting.set(key, summary.waiting);
  }

  function remove(key: string): HeldUnits {
    const summary = summaries.get(key);
    if (!summary) return new Map();
    summaries.delete(key);
    waiting.delete(key);
    for (const [device, units] of summary.held) {
      const rest = (held.get(device) ?? 0) - units;
      if (rest > 0) held.set(device, rest);
      else held.delete(device);
    }
    return summary.held;
  }

  return {
    held,
    waiting,
    state: (key) => summaries.get(key)?.state,
    get isSynced() {
      return isSynced;
    },
    apply(change) {
      if (change.type === "replace") {
        const before = [...held.keys()];
        summaries = new Map();
        held.clear();
        waiting.clear();
        for (const [key, summary] of change.objects) add(key, summary);
        isSynced = true;
        return before.filter((device) => !held.has(device));
      }
      const released = remove(change.key);
      if (change.type === "put") add(change.key, change.object);
      return [...released.keys()].filter((device) => !held.has(device));
    },
  };
}

/** Reduces a claim to what the controller needs. Undefined for a claim that neither holds nor waits for units of the pool. */
export function summarizeClaim(claim: ResourceClaim): ClaimSummary | undefined {
  const held = heldBy(claim);
  const waiting = waitingClaim(claim);
  return held.size > 0 || waiting ? { held, waiting, state: stateOf(claim) } : undefined;
}

function heldBy({ status }: ResourceClaim): HeldUnits {
  const held = new Map<string, number>();
  for (const { driver, pool, device, consumedCapacity = {} } of status?.allocation?.devices?.results ?? []) {
    if (driver !== DRIVER) continue;
    const key = deviceKey(pool, device);
    held.set(key, (held.get(key) ?? 0) + (parseInteger(consumedCapacity.units ?? "") ?? UNITS_PER_GPU));
  }
  return held;
}

/** Undefined for a claim that is allocated, is being deleted, or asks for devices of other classes only. */
function waitingClaim({ metadata, spec, status }: ResourceClaim): WaitingClaim | undefined {
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
