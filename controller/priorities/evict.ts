import { isStatus, KubernetesError } from "../../kubernetes/error.ts";
import { podPath } from "../../kubernetes/objects/pod.ts";
import type { KubernetesRequest } from "../../kubernetes/request.ts";
import type { BoundPod } from "./bound_pod.ts";

/** `gone`: the pod has ended by itself. `protected`: a disruption budget does not allow the eviction now. */
export type EvictionResult = "evicted" | "gone" | "protected";

/** The cause of an answer that is about a disruption budget (k8s.io/api/policy/v1). */
const DISRUPTION_BUDGET = "DisruptionBudget";

export interface EvictOptions {
  /** Whether to find out only whether the pod could be evicted. */
  readonly dryRun: boolean;
  readonly signal: AbortSignal;
}

/**
 * Evicts a pod by the Eviction API: the pod ends with its grace period, and gets the condition DisruptionTarget.
 *
 * @throws {KubernetesError} for example where an admission policy refuses the eviction.
 */
export async function evictPod(
  request: KubernetesRequest,
  { namespace, name, uid }: BoundPod,
  { dryRun, signal }: EvictOptions,
): Promise<EvictionResult> {
  const path = `${podPath({ metadata: { namespace, name } })}/eviction`;
  const body = {
    apiVersion: "policy/v1",
    kind: "Eviction",
    metadata: { namespace, name },
    deleteOptions: { preconditions: { uid } },
  };
  try {
    await request(path, { method: "POST", query: dryRun ? { dryRun: "All" } : {}, body, signal });
    return "evicted";
  } catch (error) {
    if (isStatus(error, 404) || isStatus(error, 409)) return "gone"; // 409: another pod of the name
    if (error instanceof KubernetesError && error.causes.includes(DISRUPTION_BUDGET)) return "protected";
    throw error;
  }
}
