import type { DeviceAttributes } from "../../pool/attributes.ts";
import { formatFilter, matchesFilter } from "../../pool/filter.ts";
import { describeShare } from "../../pool/share.ts";
import { unitsPerGpu } from "../../pool/units.ts";
import type { WaitingRequest } from "./claim_index.ts";
import type { GpuSupply } from "./supply.ts";

/**
 * Why the pool cannot satisfy a request now, in the terms of the pod: `needs 60 % of one GPU; the freest has 40 %`. Undefined if it can:
 * the scheduler will allocate it.
 */
export function describeShortage(request: WaitingRequest, supply: readonly GpuSupply[]): string | undefined {
  const { count, units, share, filters } = request;
  const suitable = supply.filter(({ attributes }) => isSuitable(attributes, request));
  const free = suitable.map((gpu) => gpu.free).sort((a, b) => b - a);
  const available = free.filter((each) => each >= units).length;
  if (available >= count) return undefined;
  const matching = filters.length > 0 ? ` that matches ${filters.map(formatFilter).join(" and ")}` : "";
  return `needs ${describeShare(share)}${matching}; ${describeFree({ count, available, free, suitable })}`;
}

/** Whether a GPU could satisfy the request if nobody held any of it. */
function isSuitable(attributes: DeviceAttributes, { share, units, filters }: WaitingRequest): boolean {
  return (
    filters.every((filter) => matchesFilter(filter, attributes)) && unitsPerGpu(share, attributes.memoryMb) <= units
  );
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
  const freest = free.slice(0, count).map((each) => `${each} %`);
  return `${available === 0 ? "none has" : `only ${available} has`} that now: the freest have ${freest.join(" and ")}`;
}
