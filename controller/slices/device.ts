import type { Device, DeviceAttribute, DeviceTaint } from "../../kubernetes/objects/resource_slice.ts";
import { attributesOf } from "../../pool/attributes.ts";
import { deviceName } from "../../pool/device_name.ts";
import type { Gpu, PoolServer } from "../../pool/inventory.ts";
import { UNITS_PER_GPU } from "../../pool/units.ts";
import { selectNodes } from "./node_selection.ts";

/**
 * A GPU as the scheduler sees it. Claims consume its units. Its memory is a capacity that selectors can compare, and no claim consumes
 * it: a memory share consumes the units that it amounts to.
 */
export function createDevice(server: PoolServer, gpu: Gpu): Device {
  const attributes = Object.entries(attributesOf(server, gpu)).map(([name, value]) => [name, toAttribute(value)]);
  return {
    name: deviceName(gpu.id),
    allowMultipleAllocations: true,
    attributes: Object.fromEntries(attributes),
    ...(server.nodes ? { nodeSelector: selectNodes(server.nodes) } : {}),
    capacity: {
      memory: { value: `${gpu.memoryMb}M`, requestPolicy: { default: "0" } },
      units: {
        value: String(UNITS_PER_GPU),
        requestPolicy: { default: String(UNITS_PER_GPU), validRange: { min: "1", step: "1" } },
      },
    },
  };
}

/** A device with this taint instead of the taints that it has. */
export function withTaint({ taints: _, ...device }: Device, taint: DeviceTaint | undefined): Device {
  return taint ? { ...device, taints: [taint] } : device;
}

function toAttribute(value: string | number | boolean): DeviceAttribute {
  if (typeof value === "string") return { string: value };
  return typeof value === "number" ? { int: value } : { bool: value };
}
