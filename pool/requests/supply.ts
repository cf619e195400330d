import type { NodeSelector } from "../../kubernetes/objects/node_selector.ts";
import type { Device, ResourceSlice } from "../../kubernetes/objects/resource_slice.ts";
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

/** A published GPU with what the scheduler knows it by. */
export interface PublishedGpu extends GpuSupply {
  /** Its {@link deviceKey}. */
  readonly key: string;
}

/** Creates a function that lists the published GPUs. Attributes are computed once per device object. */
export function createSupply(): (slices: Iterable<ResourceSlice>, held: HeldUnits) => PublishedGpu[] {
  const cache = new WeakMap<Device, DeviceAttributes>();
  const attributesOf = (device: Device) => {
    const attributes = cache.get(device) ?? attributesOfDevice(device);
    cache.set(device, attributes);
    return attributes;
  };
  return (slices, held) => {
    const supply: PublishedGpu[] = [];
    for (const { spec } of slices) {
      for (const device of spec.devices ?? []) {
        const key = deviceKey(spec.pool.name, device.name);
        const units = held.get(key) ?? 0;
        const tainted = isTainted(device);
        const free = tainted ? 0 : Math.max(0, UNITS_PER_GPU - units);
        const nodes = device.nodeSelector ?? spec.nodeSelector;
        supply.push({ key, nodes, attributes: attributesOf(device), isTainted: tainted, held: units, free });
      }
    }
    return supply;
  };
}

/** Whether the scheduler gives no new pod any of a device. */
export function isTainted({ taints = [] }: Device): boolean {
  return taints.some(({ effect }) => effect !== "None");
}
