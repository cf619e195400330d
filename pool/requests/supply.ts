import type { Device, NodeSelector, ResourceSlice } from "../../kubernetes/objects/resource_slice.ts";
import { attributesOfDevice, type DeviceAttributes } from "../attributes.ts";
import { deviceKey, type HeldUnits } from "../claims/device_key.ts";
import { UNITS_PER_GPU } from "../units.ts";

/** A published GPU, and what is left of it. */
export interface GpuSupply {
  readonly attributes: DeviceAttributes;
  readonly isTainted: boolean;
  /** Units that claims hold. */
  readonly held: number;
  /** Units that the scheduler can still allocate. 0 if the GPU is tainted. */
  readonly free: number;
  /** The nodes that reach it. Undefined: not known. */
  readonly nodes?: NodeSelector | undefined;
}

/** Creates a function that lists the published GPUs. Attributes are computed once per device object. */
export function createSupply(): (slices: Iterable<ResourceSlice>, held: HeldUnits) => GpuSupply[] {
  const cache = new WeakMap<Device, DeviceAttributes>();
  const attributesOf = (device: Device) => {
    const attributes = cache.get(device) ?? attributesOfDevice(device);
    cache.set(device, attributes);
    return attributes;
  };
  return (slices, held) => {
    const supply: GpuSupply[] = [];
    for (const { spec } of slices) {
      for (const device of spec.devices ?? []) {
        const units = held.get(deviceKey(spec.pool.name, device.name)) ?? 0;
        const tainted = isTainted(device);
        const free = tainted ? 0 : Math.max(0, UNITS_PER_GPU - units);
        const nodes = device.nodeSelector ?? spec.nodeSelector;
        supply.push({ attributes: attributesOf(device), isTainted: tainted, held: units, free, nodes });
      }
    }
    return supply;
  };
}

/** Whether the scheduler gives no new pod any of a device. */
export function isTainted({ taints = [] }: Device): boolean {
  return taints.some(({ effect }) => effect !== "None");
}
