import { parseInteger } from "../../kubernetes/formats/quantity.ts";
import type { DeviceAllocation, ResourceClaim } from "../../kubernetes/objects/resource_claim.ts";
import { DRIVER } from "../driver.ts";
import { UNITS_PER_GPU } from "../units.ts";
import { deviceKey, type HeldUnits } from "./device_key.ts";

/** The devices of the pool that the scheduler has allocated to a claim. */
export function sharesOfClaim({ status }: Pick<ResourceClaim, "status">): readonly DeviceAllocation[] {
  return (status?.allocation?.devices?.results ?? []).filter(({ driver }) => driver === DRIVER);
}

/** The units of an allocated device. One without consumed capacity is allocated as a whole. */
export function unitsOfShare({ consumedCapacity = {} }: DeviceAllocation): number {
  return parseInteger(consumedCapacity.units ?? "") ?? UNITS_PER_GPU;
}

/** The units that a claim holds of each device. */
export function heldBy(claim: Pick<ResourceClaim, "status">): HeldUnits {
  const held = new Map<string, number>();
  for (const share of sharesOfClaim(claim)) {
    const key = deviceKey(share.pool, share.device);
    held.set(key, (held.get(key) ?? 0) + unitsOfShare(share));
  }
  return held;
}
