import type { Device, DeviceAttribute, DeviceTaint } from "../../kubernetes/resource_slice.ts";
import { attributesOf, type DeviceAttributes, deviceName } from "../../pool/device.ts";
import type { Gpu, PoolServer } from "../../pool/inventory.ts";

/** Capacity of each GPU, of which claims take their units: 1 % of it each. */
export const UNITS = 100;

/**
 * A GPU as the scheduler is told of it. Claims share its units; its memory is there to be chosen by, and none of it is consumed: who
 * asks for memory takes as many units as that is.
 */
export function deviceOf(server: PoolServer, gpu: Gpu, taint: DeviceTaint | undefined): Device {
  return withTaint(
    {
      name: deviceName(gpu.id),
      allowMultipleAllocations: true,
      attributes: Object.fromEntries(
        Object.entries(attributesOf(server, gpu)).map(([name, value]) => [name, attribute(value)]),
      ),
      capacity: {
        memory: { value: `${gpu.memoryMb}M`, requestPolicy: { default: "0" } },
        units: {
          value: String(UNITS),
          requestPolicy: { default: String(UNITS), validRange: { min: "1", step: "1" } },
        },
      },
    },
    taint,
  );
}

export function withTaint({ taints: _, ...device }: Device, taint: DeviceTaint | undefined): Device {
  return taint ? { ...device, taints: [taint] } : device;
}

function attribute(value: string | number | boolean): DeviceAttribute {
  if (typeof value === "string") return { string: value };
  return typeof value === "number" ? { int: value } : { bool: value };
}

/** What {@link deviceOf} has made of it. */
export function attributesOfDevice({ attributes = {} }: Device): DeviceAttributes {
  return Object.fromEntries(Object.entries(attributes).map(([name, value]) => [name, Object.values(value)[0]]));
}
