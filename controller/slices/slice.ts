import { isDeepStrictEqual } from "node:util";
import { parseQuantity } from "../../kubernetes/quantity.ts";
import type { Device, ResourceSlice } from "../../kubernetes/resource_slice.ts";
import { DRIVER } from "../../pool/device.ts";

/** Which of them are the driver's own. */
export const SLICES_QUERY = { fieldSelector: `spec.driver=${DRIVER}` };

/** What a slice is to be: the devices of the pool that is called as the slice is. */
export interface DesiredSlice {
  readonly name: string;
  readonly devices: readonly Device[];
}

/** ResourceSliceMaxDevicesWithAdvancedFeatures (k8s.io/api/resource/v1): as soon as one of them is tainted. */
export const MOST_DEVICES = 64;

/** Name of a slice, and of the pool that it is the whole of. */
export function sliceName(index: number): string {
  return `bitfusion-${index}`;
}

/** The index of a {@link sliceName}; undefined for another name. */
export function poolIndex(name: string): number | undefined {
  const [, index] = /^bitfusion-(\d+)$/.exec(name) ?? [];
  return index === undefined ? undefined : Number(index);
}

/** The index of a slice that is ours to keep; undefined for others. */
export function sliceIndex({ metadata: { name }, spec: { pool } }: ResourceSlice): number | undefined {
  return pool.name === name && pool.resourceSliceCount === 1 ? poolIndex(name) : undefined;
}

/**
 * A slice as it is to be written, in place of `current` if there is one. Its pool is as large as it: GPUs depend on nothing but
 * themselves, so one write is always the whole of a pool, and no death can leave a half of one. The pool's generation goes up with
 * each change of it (k8s.io/api/resource/v1, ResourcePool).
 */
export function sliceObject({ name, devices }: DesiredSlice, current?: ResourceSlice) {
  return {
    apiVersion: "resource.k8s.io/v1",
    kind: "ResourceSlice",
    metadata: { ...current?.metadata, name },
    spec: {
      driver: DRIVER,
      pool: { name, generation: (current?.spec.pool.generation ?? 0) + 1, resourceSliceCount: 1 },
      allNodes: true,
      devices,
    },
  };
}

/** Whether the API server has what is desired; it writes quantities in its own way, such as 16G for 16000M. */
export function isAsDesired({ spec }: ResourceSlice, { devices }: DesiredSlice): boolean {
  return spec.allNodes === true && isDeepStrictEqual((spec.devices ?? []).map(canonical), devices.map(canonical));
}

function canonical(device: Device): object {
  const capacity = Object.entries(device.capacity ?? {}).map(([name, { value, requestPolicy }]) => [
    name,
    { value: parseQuantity(value), requestPolicy },
  ]);
  return { ...device, capacity: Object.fromEntries(capacity) };
}
