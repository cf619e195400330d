import type { Device, ResourceSlice } from "../kubernetes/objects/resource_slice.ts";
import type { Gpu, Inventory, PoolServer } from "../pool/inventory.ts";
import type { Plan } from "./slices/plan.ts";
import { toResourceSlice } from "./slices/slice.ts";

const FACTS = { hostname: "gpu-1", hasRdma: false, cudaVersion: "12.4", driverVersion: "550.54.15" };

export function gpu(id: string, changes: Partial<Gpu> = {}): Gpu {
  return { id, model: "Tesla T4", memoryMb: 16_000, healthy: true, ...changes };
}

export function server(address: string, gpus?: readonly Gpu[], changes: Partial<PoolServer> = {}): PoolServer {
  return { address, reachable: true, ...(gpus ? { gpus, facts: FACTS } : {}), ...changes };
}

export function inventoryOf(...servers: PoolServer[]): Inventory {
  return { servers };
}

/**
 * The slices after the writes of a plan.
 *
 * @param fails whether the write with this index fails. By default, all succeed.
 */
export function applyPlan(
  slices: readonly ResourceSlice[],
  plan: Plan,
  fails: (write: number) => boolean = () => false,
): ResourceSlice[] {
  const result = new Map(slices.map((slice) => [slice.metadata.name, slice]));
  const writes = [
    ...plan.removals.map(({ metadata }) => [metadata.name, undefined] as const),
    ...plan.updates.map(({ desired, current }) => [desired.name, toResourceSlice(desired, current)] as const),
    ...plan.creations.map((desired) => [desired.name, toResourceSlice(desired)] as const),
  ];
  for (const [index, [name, slice]] of writes.entries()) {
    if (fails(index)) continue;
    if (slice) result.set(name, slice);
    else result.delete(name);
  }
  return [...result.values()];
}

/** All devices, by pool/name. */
export function devicesOf(slices: readonly ResourceSlice[]): Map<string, Device> {
  return new Map(
    slices.flatMap(({ spec: { pool, devices = [] } }) =>
      devices.map((device) => [`${pool.name}/${device.name}`, device]),
    ),
  );
}
