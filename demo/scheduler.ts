import { parseQuantity } from "../kubernetes/formats/quantity.ts";
import type { DeviceAllocation, DeviceRequest, ResourceClaim } from "../kubernetes/objects/resource_claim.ts";
import type { Device, ResourceSlice } from "../kubernetes/objects/resource_slice.ts";

export interface SchedulerState {
  readonly slices: readonly ResourceSlice[];
  /** The devices that claims hold. */
  readonly held: readonly DeviceAllocation[];
}

/**
 * The demo's stand-in for the device allocation of kube-scheduler: for each request of the claims, the first devices
 * that have no taint and enough capacity left (consumable capacity, KEP-5075). It allocates all claims or none. Returns
 * the devices of each claim, or undefined if the pool lacks some.
 *
 * @throws {Error} for a request that needs more than this scheduler knows: alternatives, selectors, all devices.
 */
export function allocate(
  claims: readonly ResourceClaim[],
  { slices, held }: SchedulerState,
): readonly (readonly DeviceAllocation[])[] | undefined {
  const taken = [...held];
  const allocations: DeviceAllocation[][] = [];
  for (const { metadata, spec } of claims) {
    const allocation: DeviceAllocation[] = [];
    for (const request of spec.devices?.requests ?? []) {
      const devices = allocateRequest(request, { slices, held: taken }, metadata.name);
      if (!devices) return undefined;
      allocation.push(...devices);
      taken.push(...devices);
    }
    allocations.push(allocation);
  }
  return allocations;
}

/** Chooses as many different devices as the request counts. */
function allocateRequest(
  { name = "", exactly }: DeviceRequest,
  { slices, held }: SchedulerState,
  claim: string,
): DeviceAllocation[] | undefined {
  if (!exactly || exactly.selectors || exactly.allocationMode === "All") {
    throw new Error(`Cannot allocate request "${name}" of claim "${claim}": expected a count, without selectors`);
  }
  const { count = 1, capacity } = exactly;
  const chosen: DeviceAllocation[] = [];
  for (const { spec } of slices) {
    for (const device of spec.devices ?? []) {
      if (chosen.length === count) return chosen;
      if (!device.allowMultipleAllocations || device.taints?.length) continue;
      const consumedCapacity = consumptionOf(device, capacity?.requests ?? {});
      const others = held.filter((each) => each.pool === spec.pool.name && each.device === device.name);
      if (!fits(device, [...others.map((each) => each.consumedCapacity ?? {}), consumedCapacity])) continue;
      chosen.push({ driver: spec.driver, pool: spec.pool.name, device: device.name, request: name, consumedCapacity });
    }
  }
  return chosen.length === count ? chosen : undefined;
}

type Quantities = Readonly<Record<string, string>>;

/** A capacity that is not requested is consumed by its default, or whole. */
function consumptionOf({ capacity = {} }: Device, requests: Quantities): Quantities {
  const entries = Object.entries(capacity).map(([name, { value, requestPolicy }]) => [
    name,
    requests[name] ?? requestPolicy?.default ?? value,
  ]);
  return Object.fromEntries(entries);
}

function fits({ capacity = {} }: Device, consumptions: readonly Quantities[]): boolean {
  return Object.entries(capacity).every(([name, { value }]) => {
    const sum = consumptions.reduce((total, each) => total + parseQuantity(each[name] ?? "0"), 0n);
    return sum <= parseQuantity(value);
  });
}
