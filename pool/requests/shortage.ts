import type { WaitingRequest } from "../claims/waiting_claim.ts";
import { UNITS_PER_GPU } from "../units.ts";
import { describeMissingDataPlane } from "./data_plane.ts";
import { canHold } from "./feasibility.ts";
import { createSuitability, describeRequest, groupForRequest, needsOneServer } from "./gpu_request.ts";
import type { GpuSupply } from "./supply.ts";

/**
 * Why the pool cannot satisfy a request now, in the terms of the pod: `needs 60 % of one GPU; the freest has 40 %`. Undefined if it can:
 * the scheduler will allocate it, unless the pod has other claims.
 */
export function describeShortage(request: WaitingRequest, supply: readonly GpuSupply[]): string | undefined {
  const suits = createSuitability(request);
  const suitable = supply.filter(({ attributes }) => suits(attributes));
  const freest = findFreest(request, suitable);
  if (freest.available >= request.count) return undefined;
  const missing = describeMissingDataPlane(
    request.filters,
    supply.map(({ attributes }) => attributes),
  );
  return `needs ${describeRequest(request)}; ${missing ?? describeFree(request, suitable, freest)}`;
}

/**
 * Why the pool cannot satisfy requests at the same time, although it could satisfy each of them alone. Undefined if it can, and if it takes
 * too long to find out.
 */
export function describeJointShortage(
  requests: readonly WaitingRequest[],
  supply: readonly GpuSupply[],
): string | undefined {
  if (canHold(supply, requests) !== "no") return undefined;
  const kinds = [...Map.groupBy(requests, describeRequest)].map(([description, same]) =>
    same.length === 1 ? description : `${same.length} × ${description}`,
  );
  return `needs ${listOf(kinds)} at the same time; ${describeRoom(requests, supply)}`;
}

/** The most GPUs whose free units a message lists. */
const MAX_LISTED = 4;

function describeRoom(requests: readonly WaitingRequest[], supply: readonly GpuSupply[]): string {
  const empty = supply.map(({ attributes }) => ({ attributes, free: UNITS_PER_GPU }));
  if (canHold(empty, requests) === "no") return "the pool is too small for that, even if nobody else uses it";
  const suits = requests.map(createSuitability);
  const suitable = supply.filter(({ attributes }) => suits.some((each) => each(attributes)));
  const freest = suitable.map(({ free }) => free).sort((a, b) => b - a);
  const listed = listOf(freest.slice(0, MAX_LISTED).map((free) => `${free} %`));
  return freest.length === 1 ? `the only GPU has ${listed}` : `the freest GPUs have ${listed}`;
}

function listOf(texts: readonly string[]): string {
  return new Intl.ListFormat("en-GB").format(texts);
}

/** GPUs that a request can take together, as far as they suit it. */
interface Candidates {
  /** Number of GPUs that could satisfy the request now. */
  readonly available: number;
  /** Free units of each GPU, in descending order. */
  readonly free: readonly number[];
}

/** Of a request for GPUs of one server, the GPUs of the server that comes closest to it; of another request, all GPUs. */
function findFreest(request: WaitingRequest, suitable: readonly GpuSupply[]): Candidates {
  const { count, units } = request;
  const closeness = ({ available, free }: Candidates) => [
    Math.min(free.length, count),
    available,
    free[count - 1] ?? 0,
  ];
  const groups = groupForRequest(request, suitable).map((gpus): Candidates => {
    const free = gpus.map((gpu) => gpu.free).sort((a, b) => b - a);
    return { available: free.filter((each) => each >= units).length, free };
  });
  const none: Candidates = { available: 0, free: [] };
  return groups.reduce((best, each) => (isGreater(closeness(each), closeness(best)) ? each : best), none);
}

/** Whether a list of numbers is greater than another one of the same length: the first difference decides. */
function isGreater(a: readonly number[], b: readonly number[]): boolean {
  const index = a.findIndex((each, position) => each !== b[position]);
  return index >= 0 && (a[index] ?? 0) > (b[index] ?? 0);
}

function describeFree(
  request: WaitingRequest,
  suitable: readonly GpuSupply[],
  { available, free }: Candidates,
): string {
  const { count } = request;
  const isOneServer = needsOneServer(request);
  if (suitable.length === 0) return "the pool has none";
  if (free.length < count) {
    return isOneServer ? `no server has more than ${free.length}` : `the pool has only ${free.length}`;
  }
  if (suitable.every(({ isTainted }) => isTainted)) return "none of the pool takes new pods now";
  if (count === 1) return `the freest has ${free[0]} %`;
  const freest = free.slice(0, Math.min(count, MAX_LISTED)).map((each) => `${each} %`);
  const which = isOneServer ? "the freest of one server have" : "the freest have";
  return `${available === 0 ? "none has" : `only ${available} ${available === 1 ? "has" : "have"}`} that now: ${which} ${freest.join(" and ")}`;
}
