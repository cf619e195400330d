import { UNITS_PER_GPU } from "../../pool/units.ts";
import type { Request } from "./requests.ts";

/** A GPU of a simulated pool. */
export interface Gpu {
  readonly server: number;
  held: number;
}

/** Puts the GPUs in the order in which the scheduler tries them. */
export type Order = (gpus: readonly Gpu[]) => Gpu[];

/**
 * The GPUs that the scheduler allocates: the first in the order that have enough free units. Those of a share are on one server
 * (allocator of k8s.io/dynamic-resource-allocation: it tries the devices of each pool as they are listed, and the pools by name). Undefined if the share does not fit.
 */
export function allocate(ordered: readonly Gpu[], { gpus: count, units }: Request): Gpu[] | undefined {
  const fitting = ordered.filter(({ held }) => held + units <= UNITS_PER_GPU);
  if (count === 1) return fitting.length > 0 ? fitting.slice(0, 1) : undefined;
  const ofServer = Map.groupBy(fitting, ({ server }) => server);
  return [...ofServer.values()].find((list) => list.length >= count)?.slice(0, count);
}
