import { claimsOfPod, type Pod, requestedByPod } from "../../../kubernetes/objects/pod.ts";
import { controllingPod, type ResourceClaim } from "../../../kubernetes/objects/resource_claim.ts";
import { RESOURCE_NAME } from "../../../pool/driver.ts";
import { allocatedUnits, type ReadClaim, type ReadPod } from "./claim.ts";

export interface GateOptions {
  readClaim: ReadClaim;
  readPod: ReadPod;
}

/**
 * Why a claim must not be prepared. However a claim was made, no pod runs with more units than its quota counts: for each pod that the claim
 * is reserved for, the pod's units must cover all its claims. A claim that a pod controls is for that pod alone. Undefined if all is well.
 *
 * The kubelet prepares a claim only for a pod that the claim is reserved for.
 *
 * @throws {KubernetesError} if a pod or a claim cannot be read.
 */
export async function findUncovered(
  claim: ResourceClaim,
  { readClaim, readPod }: GateOptions,
  signal: AbortSignal,
): Promise<string | undefined> {
  const { namespace = "", name: claimName } = claim.metadata;
  const owner = controllingPod(claim);
  const consumers = claim.status?.reservedFor?.filter(({ resource }) => resource === "pods") ?? [];
  if (consumers.length === 0) return "status.reservedFor names no pod: expected the pods that use the claim";
  for (const { name, uid } of consumers) {
    if (owner && owner.uid !== uid) return `it belongs to pod ${owner.name}: pod ${name} cannot use it`;
    const pod = await readPod({ namespace, name }, signal);
    if (pod?.metadata.uid !== uid) continue; // the pod is gone: it cannot run
    const claims = await Promise.all(
      otherClaims(pod, claimName).map((other) => readClaim({ namespace, name: other }, signal)),
    );
    const allocated = [claim, ...claims].reduce((total, each) => total + (each ? allocatedUnits(each) : 0), 0);
    const counted = requestedByPod(pod, RESOURCE_NAME);
    if (allocated > counted) {
      return `the claims of pod ${name} have ${allocated} units of the pool, but it requests ${counted} units of ${RESOURCE_NAME}`;
    }
  }
  return undefined;
}

function otherClaims(pod: Pod, name: string): string[] {
  return [...new Set(claimsOfPod(pod).values())].filter((claim) => claim !== name);
}
