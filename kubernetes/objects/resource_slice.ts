import type { ApiObject } from "../watch.ts";
import type { NodeSelector } from "./node_selector.ts";
import type { OwnerReference } from "./owner_reference.ts";

/** Path of the collection of all ResourceSlices. */
export const RESOURCE_SLICES = "/apis/resource.k8s.io/v1/resourceslices";

/** The fields of a ResourceSlice (k8s.io/api/resource/v1) that the programs use. */
export interface ResourceSlice extends ApiObject {
  readonly metadata: ApiObject["metadata"] & {
    readonly annotations?: Readonly<Record<string, string>>;
    readonly ownerReferences?: readonly OwnerReference[];
  };
  readonly spec: {
    readonly driver: string;
    readonly pool: { readonly name: string; readonly generation: number; readonly resourceSliceCount: number };
    /** The nodes from which the devices can be used. */
    readonly nodeSelector?: NodeSelector;
    /** Instead of `nodeSelector`: each device has its own. */
    readonly perDeviceNodeSelection?: boolean;
    readonly devices?: readonly Device[];
  };
}

export interface Device {
  /** A DNS label. */
  readonly name: string;
  readonly allowMultipleAllocations?: boolean;
  readonly attributes?: Readonly<Record<string, DeviceAttribute>>;
  readonly capacity?: Readonly<Record<string, DeviceCapacity>>;
  readonly taints?: readonly DeviceTaint[];
  /** The nodes from which the device can be used, if the slice leaves it to its devices. */
  readonly nodeSelector?: NodeSelector;
}

export type DeviceAttribute = { readonly string: string } | { readonly int: number } | { readonly bool: boolean };

export interface DeviceCapacity {
  /** A quantity. */
  readonly value: string;
  readonly requestPolicy?: {
    readonly default?: string;
    readonly validRange?: { readonly min: string; readonly max?: string; readonly step?: string };
  };
}

export interface DeviceTaint {
  readonly key: string;
  /** The value of a label. */
  readonly value?: string;
  /** `None` changes nothing. */
  readonly effect: "None" | "NoSchedule" | "NoExecute";
  /** RFC 3339, whole seconds. */
  readonly timeAdded: string;
}
