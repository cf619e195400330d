import { type Device, RESOURCE_SLICES, type ResourceSlice } from "../../kubernetes/objects/resource_slice.ts";
import type { KubernetesRequest } from "../../kubernetes/request.ts";
import { type ObjectChange, watchObjects } from "../../kubernetes/watch.ts";
import type { Logger } from "../../program/log/log.ts";
import { attributesOfDevice, type DeviceAttributes } from "../attributes.ts";
import { DRIVER_SLICES, GONE_TAINT, POOL_GPUS_ANNOTATION } from "../driver.ts";

export interface PublishedPoolOptions {
  request: KubernetesRequest;
  log: Logger;
}

/** What is kept of a ResourceSlice. */
interface PublishedGpus {
  readonly gpus: readonly DeviceAttributes[];
  /** Number of GPUs of the whole pool. Undefined if the slice does not tell it. */
  readonly poolGpus?: number;
}

/**
 * Follows the pool as the controller publishes it. Yields the attributes of all GPUs, or undefined while they are not known, at the start and
 * after each change of a slice. Unreachable and unhealthy GPUs count, since they can come back. Ends with the signal.
 */
export async function* followPublishedPool(
  { request, log }: PublishedPoolOptions,
  signal: AbortSignal,
): AsyncGenerator<readonly DeviceAttributes[] | undefined> {
  const slices = new Map<string, PublishedGpus>();
  const watch = { request, path: RESOURCE_SLICES, query: DRIVER_SLICES, transform: readSlice, log };
  for await (const change of watchObjects<ResourceSlice, PublishedGpus>(watch, signal)) {
    apply(slices, change);
    yield wholePool([...slices.values()]);
  }
}

/** Whether a device is of a GPU of the pool, and not published only because claims hold it. */
export function isInPool({ taints = [] }: Device): boolean {
  return !taints.some(({ key }) => key === GONE_TAINT);
}

function apply(slices: Map<string, PublishedGpus>, change: ObjectChange<PublishedGpus>): void {
  if (change.type === "put") slices.set(change.key, change.object);
  else if (change.type === "delete") slices.delete(change.key);
  else {
    slices.clear();
    for (const [key, slice] of change.objects) slices.set(key, slice);
  }
}

function readSlice({ metadata: { annotations = {} }, spec: { devices = [] } }: ResourceSlice): PublishedGpus {
  const poolGpus = annotations[POOL_GPUS_ANNOTATION];
  const gpus = devices.filter(isInPool).map(attributesOfDevice);
  return poolGpus === undefined ? { gpus } : { gpus, poolGpus: Number(poolGpus) };
}

/** The GPUs of all slices, if they are as many as the pool has: the controller writes slices one after the other. */
function wholePool(slices: readonly PublishedGpus[]): readonly DeviceAttributes[] | undefined {
  const gpus = slices.flatMap((slice) => slice.gpus);
  const told = slices.flatMap(({ poolGpus }) => poolGpus ?? []);
  return told.length > 0 && told.every((count) => count === gpus.length) ? gpus : undefined;
}
