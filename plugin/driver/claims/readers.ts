import { isObjectNotFound } from "../../../kubernetes/error.ts";
import { type Pod, podPath } from "../../../kubernetes/objects/pod.ts";
import { claimPath, type ResourceClaim } from "../../../kubernetes/objects/resource_claim.ts";
import { RESOURCE_SLICES, type ResourceSlice } from "../../../kubernetes/objects/resource_slice.ts";
import type { KubernetesRequest } from "../../../kubernetes/request.ts";
import type { ReadClaim, ReadPod, ReadSlice } from "./claim.ts";

/** Reads claims from the API server. */
export function createClaimReader(request: KubernetesRequest): ReadClaim {
  return ({ namespace, name }, signal) => read<ResourceClaim>(request, claimPath(namespace, name), signal);
}

/** Reads pods from the API server. */
export function createPodReader(request: KubernetesRequest): ReadPod {
  return (metadata, signal) => read<Pod>(request, podPath({ metadata }), signal);
}

/** Reads ResourceSlices from the API server. */
export function createSliceReader(request: KubernetesRequest): ReadSlice {
  return (name, signal) => read<ResourceSlice>(request, `${RESOURCE_SLICES}/${name}`, signal);
}

async function read<T>(request: KubernetesRequest, path: string, signal: AbortSignal): Promise<T | undefined> {
  try {
    const response = await request(path, { signal });
    return (await response.json()) as T;
  } catch (error) {
    if (isObjectNotFound(error)) return undefined;
    throw error;
  }
}
