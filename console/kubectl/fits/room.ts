import type { PodClaim } from "../../../pool/pod_claims.ts";
import { canHold, type Fit } from "../../../pool/requests/feasibility.ts";
import { type GpuRequest, needsOneServer } from "../../../pool/requests/gpu_request.ts";
import { describeJointShortage, describeShortage } from "../../../pool/requests/shortage.ts";
import type { GpuSupply } from "../../../pool/requests/supply.ts";
import type { PoolView } from "../../view/types.ts";

/** The work after which the search for room is given up: some seconds. */
const MAX_WORK = 20_000_000;

/** The most pods of one manifest that are looked at. */
const MAX_PODS = 10_000;

/** How many pods find room. */
export interface Room {
  /** Of all pods, those that find room now together. */
  readonly fitting: number;
  /** Whether more may fit: the search took too long. */
  readonly isExact: boolean;
  /** Why not all fit. */
  readonly shortage?: string;
}

/** What new pods can get of the pool now. */
export function supplyOf({ servers }: Pick<PoolView, "servers">): GpuSupply[] {
  return servers.flatMap(({ gpus }) =>
    gpus
      .filter(({ slice }) => slice !== "")
      .map(({ attributes, taints, heldUnits, freeUnits }) => ({
        attributes,
        isTainted: taints.some(({ effect }) => effect !== "None"),
        held: heldUnits,
        free: freeUnits,
      })),
  );
}

/** The requests of a pod with these claims. */
export function requestsOf(claims: readonly PodClaim[]): GpuRequest[] {
  return claims.map(({ share, units, filters, oneServer = false }) => ({
    count: share.gpus,
    units,
    share,
    filters,
    oneServer,
  }));
}

/**
 * How many of equal pods find room now, beside what other pods of the same file ask for.
 *
 * @param requests of one pod
 * @param others that find room first
 */
export function findRoom(
  requests: readonly GpuRequest[],
  count: number,
  { supply, others = [] }: { supply: readonly GpuSupply[]; others?: readonly GpuRequest[] },
): Room {
  const fits = (pods: number): Fit =>
    canHold(supply, [...others, ...Array.from({ length: pods }, () => requests).flat()], { maxWork: MAX_WORK });
  const all = Math.min(count, MAX_PODS);
  const answer = fits(all);
  if (answer === "yes") return { fitting: count, isExact: all === count };
  let fitting = 0;
  let isExact = answer === "no";
  let tooMany = all;
  while (tooMany - fitting > 1) {
    const middle = Math.floor((fitting + tooMany) / 2);
    const each = fits(middle);
    if (each === "maybe") isExact = false;
    if (each === "yes") fitting = middle;
    else tooMany = middle;
  }
  const shortage = describe(requests, supply);
  return { fitting, isExact, ...(shortage === undefined ? {} : { shortage }) };
}

/** What one pod lacks: one of its requests, or all together. */
function describe(requests: readonly GpuRequest[], supply: readonly GpuSupply[]): string | undefined {
  const keyed = requests.map((request) => ({ ...request, key: JSON.stringify([request, needsOneServer(request)]) }));
  for (const request of keyed) {
    const shortage = describeShortage(request, supply);
    if (shortage) return shortage;
  }
  return keyed.length > 1 ? describeJointShortage(keyed, supply) : undefined;
}
