import { isStatus } from "../../kubernetes/error.ts";
import { RESOURCE_SLICES, type ResourceSlice } from "../../kubernetes/objects/resource_slice.ts";
import type { KubernetesRequest } from "../../kubernetes/request.ts";
import { DRIVER_SLICES } from "../../pool/driver.ts";
import { removal } from "./write.ts";

/** Removes all slices of the driver. Yields the name of each. */
export async function* removeSlices(request: KubernetesRequest, signal: AbortSignal): AsyncGenerator<string> {
  for (const slice of await listSlices(request, signal)) {
    await removal(slice).run(request, signal);
    yield slice.metadata.name;
  }
}

async function listSlices(request: KubernetesRequest, signal: AbortSignal): Promise<readonly ResourceSlice[]> {
  try {
    const response = await request(RESOURCE_SLICES, { query: DRIVER_SLICES, signal });
    return ((await response.json()) as { items: ResourceSlice[] }).items;
  } catch (error) {
    if (isStatus(error, 404)) return []; // Kubernetes before 1.34
    throw error;
  }
}
