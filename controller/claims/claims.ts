import { parseQuantity, toInteger } from "../../kubernetes/quantity.ts";
import type { ResourceClaim } from "../../kubernetes/resource_claim.ts";
import { DEVICE_CLASS, DRIVER } from "../../pool/device.ts";

/** Units that claims hold, by {@link heldKey}; only of what is held. */
export type HeldUnits = ReadonlyMap<string, number>;

/** A device as allocations name it. */
export function heldKey(pool: string, device: string): string {
  return `${pool}/${device}`;
}

/** The parts of a {@link heldKey}: the name of a device is a DNS label. */
export function splitHeldKey(key: string): { pool: string; device: string } {
  const slash = key.lastIndexOf("/");
  return { pool: key.slice(0, slash), device: key.slice(slash + 1) };
}

/** What claims hold of the driver's devices. */
export function heldUnits(claims: Iterable<ResourceClaim>): HeldUnits {
  const held = new Map<string, number>();
  for (const { status } of claims) {
    for (const { driver, pool, device, consumedCapacity = {} } of status?.allocation?.devices?.results ?? []) {
      if (driver !== DRIVER) continue;
      const key = heldKey(pool, device);
      held.set(key, (held.get(key) ?? 0) + (toInteger(parseQuantity(consumedCapacity.units ?? 0)) ?? 0));
    }
  }
  return held;
}

/** What a claim waits for. */
export interface WaitingRequest {
  /** Number of different GPUs. */
  readonly count: number;
  /** Of each of them. */
  readonly units: number;
}

/** What a claim asks of the pool and has not got yet; undefined for one that has it, is of no interest, or is about to go. */
export function waitingRequest({ metadata, spec, status }: ResourceClaim): WaitingRequest | undefined {
  if (status?.allocation || metadata.deletionTimestamp) return undefined;
  const request = spec.devices?.requests?.find(({ exactly }) => exactly?.deviceClassName === DEVICE_CLASS)?.exactly;
  if (!request) return undefined;
  const { count = 1, capacity } = request;
  return { count, units: toInteger(parseQuantity(capacity?.requests?.units ?? 100)) ?? 100 };
}
