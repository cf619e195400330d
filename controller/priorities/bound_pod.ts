import { hasEnded, type Pod } from "../../kubernetes/objects/pod.ts";

/** A pod on a node that may hold units. */
export interface BoundPod {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly priority: number;
  /** In ms since the epoch. */
  readonly startedAt: number;
  /** When it must have ended, in ms since the epoch. Undefined if it is not being deleted. */
  readonly endsAt: number | undefined;
}

/** The pods that the scheduler has bound, without those that have ended. */
export const BOUND_PODS = { fieldSelector: "spec.nodeName!=,status.phase!=Succeeded,status.phase!=Failed" };

/** Reduces a pod to what a preemption needs. Undefined for a pod without claims. */
export function summarizeBoundPod(pod: Pod): BoundPod | undefined {
  const { metadata, spec, status } = pod;
  if (!spec.resourceClaims?.length || !spec.nodeName || hasEnded(pod)) return undefined;
  const { namespace, name, uid = "", creationTimestamp = "", deletionTimestamp } = metadata;
  return {
    namespace,
    name,
    uid,
    priority: spec.priority ?? 0,
    startedAt: Date.parse(status?.startTime ?? creationTimestamp) || 0,
    endsAt: deletionTimestamp === undefined ? undefined : Date.parse(deletionTimestamp),
  };
}
