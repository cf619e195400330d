import type { Device, ResourceSlice } from "../../kubernetes/resource_slice.ts";
import { type HeldUnits, heldKey } from "../claims/claims.ts";
import { UNITS } from "./device.ts";

/** A GPU as it stands with the scheduler. */
export interface PublishedGpu {
  readonly device: Device;
  /** Units that claims hold. */
  readonly held: number;
  /** Units that a claim could get now: none of a GPU that is tainted. */
  readonly free: number;
}

export function publishedGpus(slices: Iterable<ResourceSlice>, held: HeldUnits): PublishedGpu[] {
  return [...slices].flatMap(({ spec: { pool, devices = [] } }) =>
    devices.map((device) => {
      const units = held.get(heldKey(pool.name, device.name)) ?? 0;
      return { device, held: units, free: isTainted(device) ? 0 : Math.max(0, UNITS - units) };
    }),
  );
}

export function isTainted({ taints = [] }: Device): boolean {
  return taints.length > 0;
}
