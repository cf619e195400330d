import type { ResourceV1Api } from "@kubernetes/client-node";
import { isStatus } from "../../kubernetes/error.ts";
import { createBackoff } from "../../program/backoff.ts";
import { type Logger, messageOf } from "../../program/log/log.ts";

/** Who allocates GPUs to a pod: the scheduler (`claims`), or each node by counting units (`units`). */
export type Allocation = "units" | "claims";

/** What each allocation means for users. The webhook logs it. */
export const ALLOCATIONS: Readonly<Record<Allocation, string>> = {
  claims: "The scheduler shares the pool exactly",
  units: "Each node counts the units of the pool on its own: a pod may find the pool full when it runs",
};

/**
 * `claims` if the scheduler can share a device by capacity (KEP-5075, on by default since Kubernetes 1.36), else
 * `units`. It is detected with a dry run: the API server drops the fields of disabled features.
 */
async function detectAllocation(resource: ResourceV1Api, namespace: string): Promise<Allocation> {
  // Claims for the pool's own class are reserved for the controller.
  const exactly = { deviceClassName: "detection.bitfusion.io", capacity: { requests: { units: "1" } } };
  try {
    const template = await resource.createNamespacedResourceClaimTemplate({
      namespace,
      dryRun: "All",
      body: {
        metadata: { generateName: "bitfusion-detection-" },
        spec: { spec: { devices: { requests: [{ name: "gpu", exactly }] } } },
      },
    });
    const [request] = template.spec.spec.devices?.requests ?? [];
    return request?.exactly?.capacity ? "claims" : "units";
  } catch (error) {
    if (isStatus(error, 404)) return "units"; // Kubernetes before 1.34 lacks resource.k8s.io/v1
    throw error;
  }
}

/**
 * Retries {@link detectAllocation} with backoff until the API server responds. Returns undefined if the signal is
 * aborted first.
 */
export async function waitForAllocation(
  resource: ResourceV1Api,
  { namespace, log, signal }: { namespace: string; log: Logger; signal: AbortSignal },
): Promise<Allocation | undefined> {
  const backoff = createBackoff();
  while (!signal.aborted) {
    try {
      return await detectAllocation(resource, namespace);
    } catch (error) {
      if (signal.aborted) return undefined;
      log.warn("Cannot find out whether the API server supports claims by capacity", { reason: messageOf(error) });
      await backoff.wait(signal).catch(() => {}); // rejects only when aborted
    }
  }
  return undefined;
}
