import { describeMissingDataPlane } from "../../pool/requests/data_plane.ts";
import { canHold } from "../../pool/requests/feasibility.ts";
import { createSuitability, describeRequest } from "../../pool/requests/gpu_request.ts";
import { UNITS_PER_GPU } from "../../pool/units.ts";
import type { WaitingRequest } from "./claim_index.ts";
import type { GpuSupply } from "./supply.ts";

/**
 * Why the pool cannot satisfy a request now, in the terms of the pod: `needs 60 % of one GPU; the freest has 40 %`. Undefined if it can:
 * the scheduler will allocate it, unless the pod has other claims.
 */
export function describeShortage(request: WaitingRequest, supply: readonly GpuSupply[]): string | undefined {
  const { count, units } = request;
  const suits = createSuitability(request);
  const suitable = supply.filter(({ attributes }) => suits(attributes));
  const free = suitable.map((gpu) => gpu.free).sort((a, b) => b - a);
  const available = free.filter((each) => each >= units).length;
  if (available >= count) return undefined;
  const missing = describeMissingDataPlane(
    request.filters,
    supply.map(({ attributes }) => attributes),
  );
  return `needs ${describeRequest(request)}; ${missing ?? describeFree({ count, available, free, suitable })}`;
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

interface Supply {
  count: number;
  /** Number of GPUs that could satisfy the request now. */
  available: number;
  /** Free units of the suitable GPUs, in descending order. */
  free: readonly number[];
  suitable: readonly GpuSupply[];
}

function describeFree({ count, available, free, suitable }: Supply): string {
  if (suitable.length < count) return `the pool has ${suitable.length === 0 ? "none" : `only ${suitable.length}`}`;
  if (suitable.every(({ isTainted }) => isTainted)) return "none of the pool can be reached now";
  if (count === 1) return `the freest has ${free[0]} %`;
  const freest = free.slice(0, Math.min(count, MAX_LISTED)).map((each) => `${each} %`);
  return `${available === 0 ? "none has" : `only ${available} has`} that now: the freest have ${freest.join(" and ")}`;
}
