import type { ResourceV1Api, V1ResourceClaimSpec } from "@kubernetes/client-node";
import { isStatus } from "../../kubernetes/error.ts";
import { createBackoff } from "../../program/backoff.ts";
import { type Logger, messageOf } from "../../program/log/log.ts";
import type { Allocation } from "../injection/injection.ts";
import { claimTemplateOf } from "./claim.ts";

/** What each means to the users of a cluster. */
export const ALLOCATIONS: Readonly<Record<Allocation, string>> = {
  claims: "The scheduler shares the pool exactly",
  units: "Each node counts the pool's units by itself: pods may find the pool full when they run",
};

/**
 * Whether the API server's scheduler can share a device by capacity (KEP-5075, on by default since Kubernetes 1.36): asked by a dry run,
 * for the API server drops the fields of a feature that is off.
 */
export async function detectAllocation(resource: ResourceV1Api, namespace: string): Promise<Allocation> {
  const { name, spec } = claimTemplateOf({ gpus: 1, percent: 1 }, { filters: [], gpuMemoryMb: 0 });
  try {
    const template = await resource.createNamespacedResourceClaimTemplate({
      namespace,
      dryRun: "All",
      body: { metadata: { generateName: `${name}-` }, spec: { spec: spec as V1ResourceClaimSpec } },
    });
    const [request] = template.spec.spec.devices?.requests ?? [];
    return request?.exactly?.capacity ? "claims" : "units";
  } catch (error) {
    if (isStatus(error, 404)) return "units"; // no resource.k8s.io/v1: before 1.34
    throw error;
  }
}

/** {@link detectAllocation} until the API server answers; undefined if the signal is aborted before. */
export async function settleAllocation(
  resource: ResourceV1Api,
  { namespace, log, signal }: { namespace: string; log: Logger; signal: AbortSignal },
): Promise<Allocation | undefined> {
  const backoff = createBackoff();
  while (!signal.aborted) {
    try {
      return await detectAllocation(resource, namespace);
    } catch (error) {
      log.warn("Cannot ask the API server whether it offers claims by capacity", { reason: messageOf(error) });
      await backoff.wait(signal).catch(() => {}); // only the signal ends it early
    }
  }
  return undefined;
}
