import { isDeepStrictEqual } from "node:util";
import { parseQuantity } from "../../kubernetes/formats/quantity.ts";
import { containsFields } from "../../kubernetes/objects/contains_fields.ts";
import type { OwnerReference } from "../../kubernetes/objects/owner_reference.ts";
import type { Device, DeviceCapacity, ResourceSlice } from "../../kubernetes/objects/resource_slice.ts";
import { DRIVER, POOL_GPUS_ANNOTATION } from "../../pool/driver.ts";
import { formatSelection } from "./node_selection.ts";

/**
 * A slice as it should be. Each slice is a pool of its own with the same name: GPUs do not depend on each other, so one write always
 * completes a pool, and no crash leaves half of one.
 */
export interface DesiredSlice {
  readonly name: string;
  readonly devices: readonly Device[];
  /** Number of GPUs of the whole pool. Undefined: it is not known, or another slice tells it. */
  readonly poolGpus?: number | undefined;
  /** Kubernetes deletes the slice with its owner. Undefined: it has none. */
  readonly owner?: OwnerReference | undefined;
}

/** ResourceSliceMaxDevicesWithAdvancedFeatures (k8s.io/api/resource/v1). Taints are such a feature. */
export const MAX_DEVICES = 64;

/** The name of a slice, and of its pool. */
export function sliceName(index: number): string {
  return `bitfusion-${index}`;
}

/** The index in a {@link sliceName}. Undefined for any other name. */
export function parseSliceName(name: string): number | undefined {
  const [, index] = /^bitfusion-(\d{1,9})$/.exec(name) ?? [];
  return index === undefined ? undefined : Number(index);
}

/** The index of a slice that the controller may keep. Undefined for slices of another layout. */
export function sliceIndex({ metadata: { name }, spec: { pool } }: ResourceSlice): number | undefined {
  return pool.name === name && pool.resourceSliceCount === 1 ? parseSliceName(name) : undefined;
}

/**
 * The object to write for a desired slice.
 *
 * @param current the stored object that it replaces. The generation of the pool increases with each change (ResourcePool,
 * k8s.io/api/resource/v1).
 */
export function toResourceSlice({ name, devices, poolGpus, owner }: DesiredSlice, current?: ResourceSlice) {
  const { [POOL_GPUS_ANNOTATION]: _, ...others } = current?.metadata.annotations ?? {};
  const annotations = poolGpus === undefined ? others : { ...others, [POOL_GPUS_ANNOTATION]: String(poolGpus) };
  return {
    apiVersion: "resource.k8s.io/v1",
    kind: "ResourceSlice",
    metadata: { ...current?.metadata, name, annotations, ownerReferences: owner ? [owner] : [] },
    spec: {
      driver: DRIVER,
      pool: { name, generation: (current?.spec.pool.generation ?? 0) + 1, resourceSliceCount: 1 },
      ...formatSelection(devices),
    },
  };
}

/**
 * Whether a stored slice has exactly these devices, tells this number of GPUs, and has this owner: a namespace that was created again has
 * another uid. The API server writes quantities in its own form, such as 16G for 16000M, and may add fields with defaults.
 */
export function isUpToDate(
  { metadata: { annotations = {}, ownerReferences = [] }, spec }: ResourceSlice,
  { devices, poolGpus, owner }: Omit<DesiredSlice, "name">,
): boolean {
  if (annotations[POOL_GPUS_ANNOTATION] !== (poolGpus === undefined ? undefined : String(poolGpus))) return false;
  if (!containsFields(ownerReferences, owner ? [owner] : [])) return false;
  const { devices: expected, nodeSelector, perDeviceNodeSelection } = formatSelection(devices);
  const { devices: stored = [] } = spec;
  if (!isDeepStrictEqual(spec.nodeSelector, nodeSelector) || stored.length !== expected.length) return false;
  if (Boolean(spec.perDeviceNodeSelection) !== Boolean(perDeviceNodeSelection)) return false;
  return expected.every((device, index) => isSameDevice(stored[index] as Device, device));
}

function isSameDevice(stored: Device, { capacity = {}, attributes = {}, taints = [], ...rest }: Device): boolean {
  return (
    containsFields(stored, rest) &&
    hasSameKeys(stored.attributes, attributes) &&
    containsFields(stored.attributes ?? {}, attributes) &&
    containsFields(stored.taints ?? [], taints) &&
    taints.every(({ value }, index) => value === stored.taints?.[index]?.value) &&
    hasSameKeys(stored.capacity, capacity) &&
    Object.entries(capacity).every(([name, value]) => isSameCapacity(stored.capacity?.[name], value))
  );
}

function hasSameKeys(stored: object = {}, desired: object): boolean {
  return Object.keys(stored).length === Object.keys(desired).length;
}

function isSameCapacity(stored: DeviceCapacity | undefined, { value, ...rest }: DeviceCapacity): boolean {
  if (!stored || !containsFields(stored, rest)) return false;
  return stored.value === value || parseQuantity(stored.value) === parseQuantity(value);
}
