import type { ResourceClaim } from "../../kubernetes/resource_claim.ts";
import { CLAIM_ANNOTATIONS } from "../../pool/device.ts";
import { type Filter, filterText, matchesFilter, parseFilter } from "../../pool/filter.ts";
import { describeShare, parseShareText, percentOfGpu, type Share } from "../../pool/share.ts";
import { attributesOfDevice } from "../slices/device.ts";
import { isTainted, type PublishedGpu } from "../slices/gpus.ts";
import { waitingRequest } from "./claims.ts";

/**
 * What a claim waits for, in the words of its pod's user: `needs 60 % of one GPU; the freest has 40 %`. Undefined for one that waits for
 * nothing of the pool, or that the scheduler can give what it asks for at its next look.
 */
export function shortageOf(claim: ResourceClaim, gpus: readonly PublishedGpu[]): string | undefined {
  const request = waitingRequest(claim);
  if (!request) return undefined;
  const { count, units } = request;
  const { annotations = {} } = claim.metadata;
  const share = parseShareText(annotations[CLAIM_ANNOTATIONS.share] ?? "") ?? { gpus: count, percent: units };
  const filters = (annotations[CLAIM_ANNOTATIONS.filter] ?? "").split(" ").flatMap((text) => parseFilter(text) ?? []);
  const capable = gpus.filter(({ device }) => isCapable(attributesOfDevice(device), { share, filters, units }));
  const free = capable.map((gpu) => gpu.free).sort((a, b) => b - a);
  const able = free.filter((each) => each >= units).length;
  if (able >= count) return undefined;
  const matching = filters.length > 0 ? ` that matches ${filters.map(filterText).join(" and ")}` : "";
  return `needs ${describeShare(share)}${matching}; ${describeFree({ count, able, free, capable })}`;
}

type Attributes = ReturnType<typeof attributesOfDevice>;

/** Whether it could give the share if nobody held it. */
function isCapable(
  attributes: Attributes,
  { share, filters, units }: { share: Share; filters: readonly Filter[]; units: number },
): boolean {
  const fits = percentOfGpu(share, attributes.memoryMb ?? 1) <= units;
  return fits && filters.every((filter) => matchesFilter(filter, attributes));
}

interface Supply {
  count: number;
  able: number;
  free: readonly number[];
  capable: readonly PublishedGpu[];
}

function describeFree({ count, able, free, capable }: Supply): string {
  if (capable.length < count) return `the pool has ${capable.length === 0 ? "none" : `only ${capable.length}`}`;
  if (capable.every(({ device }) => isTainted(device))) return "none of the pool can be reached now";
  if (count === 1) return `the freest has ${free[0]} %`;
  const freest = free.slice(0, count).map((each) => `${each} %`);
  return `${able === 0 ? "none" : `only ${able}`} has that now: the freest have ${freest.join(" and ")}`;
}
