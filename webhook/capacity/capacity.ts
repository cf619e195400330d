import { requestedByPod } from "../../kubernetes/objects/pod.ts";
import type { DeviceAttributes } from "../../pool/attributes.ts";
import { MAX_GPUS_PER_CLAIM } from "../../pool/driver.ts";
import { describeMissingDataPlane } from "../../pool/requests/data_plane.ts";
import { canHold, type FreeGpu } from "../../pool/requests/feasibility.ts";
import {
  createSuitability,
  describeRequest,
  type GpuRequest,
  groupForRequest,
} from "../../pool/requests/gpu_request.ts";
import { describeShare, type Share } from "../../pool/share.ts";
import { UNITS_PER_GPU } from "../../pool/units.ts";
import { quote } from "../../program/text/quote.ts";
import { memoize } from "../fast/memoize.ts";
import { UNITS } from "../pod/keys.ts";
import type { Container, Pod } from "../pod/pod.ts";
import { Refusal } from "../pod/refusal.ts";
import { type ClaimRequest, claimRequests } from "./claim_requests.ts";

/** The attributes of all GPUs of the pool. Undefined while not all are known. */
export type KnownPool = readonly DeviceAttributes[] | undefined;

/**
 * Refuses a pod with more units than the whole pool has: it would wait forever. While the pool is not known, or has no GPU, nothing is
 * refused.
 *
 * @throws {Refusal}
 */
export function checkUnits(pod: Pod, pool: KnownPool): void {
  if (!pool?.length) return;
  const poolUnits = pool.length * UNITS_PER_GPU;
  const needed = requestedByPod(pod, UNITS);
  if (needed <= poolUnits) return;
  throw new Refusal(
    "capacity",
    `The pod requests ${needed} units of ${UNITS}, but the whole pool has ${poolUnits}: it would wait forever`,
  );
}

/**
 * Refuses a pod whose claims the pool could not hold even if nobody else used it: the pod would wait forever. Nothing is refused under the
 * same conditions as for {@link checkUnits}, and if it takes too long to find out.
 *
 * @throws {Refusal}
 */
export function checkClaims(pod: Pod, pool: KnownPool): void {
  const requests = claimRequests(pod);
  for (const { containers, share } of requests) for (const container of containers) checkClaimSize(container, share);
  if (!pool?.length) return;
  const gpus = emptyGpus(pool);
  if (canHold(gpus, requests) !== "no") return;
  for (const request of requests) for (const container of request.containers) checkShare(container, request, pool);
  const fitting = namesOf(requests.slice(0, longestPrefix(gpus, requests)));
  const list = requests.map((request) => `${namesOf([request])} (${describeRequest(request)})`);
  throw new Refusal(
    "capacity",
    `Containers ${joined(list)} hold their GPUs at the same time, but the whole pool (${describePool(pool)}) can hold only ${fitting}: the pod would wait forever`,
  );
}

/**
 * Refuses a share of more GPUs than a claim can hold: the scheduler would never allocate it.
 *
 * @throws {Refusal}
 */
export function checkClaimSize({ name }: Container, share: Share): void {
  if (share.gpus <= MAX_GPUS_PER_CLAIM) return;
  throw new Refusal(
    "capacity",
    `Container ${quote(name)} requests ${describeShare(share)}: expected at most ${MAX_GPUS_PER_CLAIM} GPUs, the limit of a ResourceClaim of Kubernetes`,
  );
}

/**
 * Refuses a container whose request the pool could never satisfy, even without the pod's other containers.
 *
 * @throws {Refusal}
 */
export function checkShare({ name }: Container, request: GpuRequest, pool: KnownPool): void {
  if (!pool?.length) return;
  const suits = createSuitability(request);
  const suitable = emptyGpus(pool).filter(({ attributes }) => suits(attributes));
  const together = Math.max(0, ...groupForRequest(request, suitable).map(({ length }) => length));
  if (together >= request.count) return;
  const units =
    "memoryMb" in request.share && request.units < UNITS_PER_GPU ? ` as ${request.units} units of a GPU` : "";
  const suppliers =
    together < suitable.length ? `no server has more than ${together}` : `the whole pool has ${together}`;
  const available =
    describeMissingDataPlane(request.filters, pool) ?? `${suppliers} that can give it (${describePool(pool)})`;
  throw new Refusal(
    "capacity",
    `Container ${quote(name)} requests ${describeRequest(request)}${units}, but ${available}: it would wait forever`,
  );
}

/** The GPUs of the pool as if nobody used them. */
const emptyGpus = memoize((pool: readonly DeviceAttributes[]): FreeGpu[] =>
  pool.map((attributes) => ({ attributes, free: UNITS_PER_GPU })),
);

/** The number of requests, from the first on, that fit together. More requests never fit where fewer do not. */
function longestPrefix(gpus: readonly FreeGpu[], requests: readonly ClaimRequest[]): number {
  let [fitting, failing] = [0, requests.length];
  while (failing - fitting > 1) {
    const middle = Math.floor((fitting + failing) / 2);
    if (canHold(gpus, requests.slice(0, middle)) === "no") failing = middle;
    else fitting = middle;
  }
  return fitting;
}

function namesOf(requests: readonly ClaimRequest[]): string {
  return joined(requests.flatMap(({ containers }) => containers.map(({ name }) => quote(name))));
}

function joined(list: readonly string[]): string {
  return new Intl.ListFormat("en-GB").format(list);
}

/** The most kinds of GPUs that a message lists. */
const MAX_KINDS = 6;

function describePool(pool: readonly DeviceAttributes[]): string {
  const kinds = Map.groupBy(pool, ({ model, memoryMb }) => `${model} of ${memoryMb} MB`);
  const listed = [...kinds].slice(0, MAX_KINDS).map(([kind, gpus]) => `${gpus.length} × ${kind}`);
  const others = kinds.size > MAX_KINDS ? [`and ${kinds.size - MAX_KINDS} other kinds`] : [];
  return [...listed, ...others].join(", ") || "no GPUs";
}
