import { isStatus } from "../../kubernetes/error.ts";
import { hasEnded, PODS, type Pod, requestedByPod } from "../../kubernetes/objects/pod.ts";
import { controllingPod, RESOURCE_CLAIMS, type ResourceClaim } from "../../kubernetes/objects/resource_claim.ts";
import type { KubernetesRequest } from "../../kubernetes/request.ts";
import { keyOf, listObjects } from "../../kubernetes/watch.ts";
import { RESOURCE_NAME } from "../../pool/driver.ts";
import { summarizeClaim } from "../claims/claim_index.ts";

/**
 * Lists what uses GPUs of the pool, or waits for some, in alphabetical order: `pod team/train` for a pod with units or a claim, and
 * `claim team/own` for a claim without a pod.
 */
export async function listPoolUsers(request: KubernetesRequest, signal: AbortSignal): Promise<string[]> {
  const pods = await listObjects<Pod, string>({ request, path: PODS, transform: userOfUnits }, signal);
  return [...new Set([...pods.objects.values(), ...(await listClaimUsers(request, signal))])].sort();
}

async function listClaimUsers(request: KubernetesRequest, signal: AbortSignal): Promise<string[]> {
  const list = { request, path: RESOURCE_CLAIMS, transform: usersOfClaim };
  try {
    const { objects } = await listObjects<ResourceClaim, readonly string[]>(list, signal);
    return [...objects.values()].flat();
  } catch (error) {
    if (isStatus(error, 404)) return []; // Kubernetes before 1.34
    throw error;
  }
}

function userOfUnits(pod: Pod): string | undefined {
  return !hasEnded(pod) && requestedByPod(pod, RESOURCE_NAME) > 0 ? `pod ${keyOf(pod)}` : undefined;
}

/** Undefined for a claim that neither holds nor waits for GPUs of the pool. */
function usersOfClaim(claim: ResourceClaim): readonly string[] | undefined {
  if (!summarizeClaim(claim)) return undefined;
  const reserving = claim.status?.reservedFor?.filter(({ resource }) => resource === "pods") ?? [];
  const pods = [controllingPod(claim) ?? [], reserving].flat();
  if (pods.length === 0) return [`claim ${keyOf(claim)}`];
  return pods.map(({ name }) => `pod ${claim.metadata.namespace}/${name}`);
}
