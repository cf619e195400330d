import { hasEnded, type Pod, requestedByPod } from "../../kubernetes/objects/pod.ts";
import { MAX_GPUS_PER_CLAIM, RESOURCE_NAME } from "../../pool/driver.ts";
import { POD_CLAIMS_ANNOTATION, type PodClaim, parsePodClaims, unitsOfClaims } from "../../pool/pod_claims.ts";
import { type NodeChoice, nodeChoiceOf } from "../../pool/requests/reach.ts";
import { messageOf } from "../../program/log/log.ts";
import { readScheduling, type Scheduling } from "./scheduling.ts";

/** A pod that the scheduler has not bound yet, and that needs claims. */
export interface PendingPod {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  /** The claims that it needs, or why it gets none. */
  readonly claims: readonly PodClaim[] | { readonly refused: string };
  /** The nodes that it selects. Undefined: any. */
  readonly nodes: NodeChoice | undefined;
  readonly scheduling: Scheduling;
}

/** Reduces a pod to what its claims need. Undefined for a pod that needs no claims, or no claims any more. */
export function summarizePod(pod: Pod): PendingPod | undefined {
  const { namespace, name, uid = "", deletionTimestamp, annotations = {} } = pod.metadata;
  const text = annotations[POD_CLAIMS_ANNOTATION];
  if (text === undefined || deletionTimestamp || pod.spec.nodeName || hasEnded(pod)) return undefined;
  const [claims, nodes, scheduling] = [readClaims(pod, text), nodeChoiceOf(pod.spec), readScheduling(pod)];
  return { namespace, name, uid, claims, nodes, scheduling };
}

/** A tenant can write the annotation: it must match the pod, whose units are what the tenant's quota counts. */
function readClaims(pod: Pod, text: string): PendingPod["claims"] {
  let claims: PodClaim[];
  try {
    claims = parsePodClaims(text);
  } catch (error) {
    return { refused: messageOf(error) };
  }
  const used = new Set(pod.spec.resourceClaims?.map(({ resourceClaimName }) => resourceClaimName));
  const unused = claims.find(({ name }) => !used.has(name));
  if (unused) {
    return { refused: `${POD_CLAIMS_ANNOTATION} has the claim ${unused.name}, which is not in spec.resourceClaims` };
  }
  const oversized = claims.find(({ share }) => share.gpus > MAX_GPUS_PER_CLAIM);
  if (oversized) {
    const { name, share } = oversized;
    return {
      refused: `${POD_CLAIMS_ANNOTATION} has the claim ${name} for ${share.gpus} GPUs: expected at most ${MAX_GPUS_PER_CLAIM}`,
    };
  }
  const needed = unitsOfClaims(claims);
  const counted = requestedByPod(pod, RESOURCE_NAME);
  if (needed <= counted) return claims;
  return {
    refused: `its claims in ${POD_CLAIMS_ANNOTATION} need ${needed} units, but it requests ${counted} units of ${RESOURCE_NAME}`,
  };
}
