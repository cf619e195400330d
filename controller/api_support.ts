import { isStatus } from "../kubernetes/error.ts";
import { RESOURCE_SLICES, type ResourceSlice } from "../kubernetes/objects/resource_slice.ts";
import type { KubernetesRequest } from "../kubernetes/request.ts";
import { createDevice, withTaint } from "./slices/device.ts";
import { toResourceSlice } from "./slices/slice.ts";
import { taintFor } from "./slices/taint.ts";

/**
 * What the API server lacks of ResourceSlices (GA in 1.34), devices with shared capacity (KEP-5075, on by default since 1.36), and device
 * taints (KEP-5055, on by default since 1.36). Undefined if it lacks nothing. A dry run tells: the API server drops the fields of disabled
 * features.
 */
export async function findMissing(request: KubernetesRequest, signal: AbortSignal): Promise<string | undefined> {
  const gpu = { id: "none", model: "none", memoryMb: 1, healthy: false };
  const device = createDevice({ address: "none:1", reachable: false }, gpu);
  const devices = [withTaint(device, taintFor({ kind: "gone" }, undefined, { now: 0 }))];
  const body = toResourceSlice({ name: "bitfusion-dry-run", devices });
  try {
    const response = await request(RESOURCE_SLICES, { method: "POST", query: { dryRun: "All" }, body, signal });
    const { spec } = (await response.json()) as ResourceSlice;
    const [stored] = spec.devices ?? [];
    if (!stored?.allowMultipleAllocations) return "devices with shared capacity (Kubernetes 1.36 and later)";
    return stored.taints?.length ? undefined : "device taints (Kubernetes 1.36 and later)";
  } catch (error) {
    if (isStatus(error, 404)) return "resource.k8s.io/v1 (Kubernetes 1.34 and later)";
    throw error;
  }
}
