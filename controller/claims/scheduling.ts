import type { Pod } from "../../kubernetes/objects/pod.ts";

/** What a pod says about nodes. */
export type PodPlacement = Pick<Pod["spec"], "nodeSelector" | "affinity" | "tolerations">;

/** What matters about a pod that waits to be scheduled. */
export interface Scheduling {
  readonly priority: number;
  /** Whether its PriorityClass lets it preempt others. Not if its placement is too long. */
  readonly mayPreempt: boolean;
  /** In ms since the epoch. */
  readonly createdAt: number;
  /** The nodes on which it lacks nothing but the devices of its claims, at the scheduler's last try. */
  readonly nodesWithoutDevices: number;
  /** Number of its claims, of any driver. */
  readonly claims: number;
  readonly placement: PodPlacement;
}

/**
 * What kube-scheduler says of nodes without the devices for a pod (pkg/scheduler/framework/plugins/dynamicresources). Its plugins look at a node one
 * after another, and this is the last one: the pod lacks nothing else there.
 */
const WITHOUT_DEVICES = /(?:^|[ :,])(\d+) cannot allocate all claims/;

/** Longest placement that is kept, in characters of JSON: tenants can write any, and it is kept for as long as the pod waits. */
const MAX_PLACEMENT = 8192;

export function readScheduling({ metadata, spec, status }: Pod): Scheduling {
  const { priority = 0, preemptionPolicy, resourceClaims = [], nodeSelector, affinity, tolerations } = spec;
  const scheduled = status?.conditions?.find(({ type }) => type === "PodScheduled");
  const isUnschedulable = scheduled?.status === "False" && scheduled.reason === "Unschedulable";
  const [message = ""] = (scheduled?.message ?? "").split("preemption:"); // what comes then is about preemption
  const required = affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution;
  const nodeAffinity = required && { requiredDuringSchedulingIgnoredDuringExecution: required };
  const placement = {
    ...(nodeSelector ? { nodeSelector } : {}),
    ...(nodeAffinity ? { affinity: { nodeAffinity } } : {}),
    ...(tolerations ? { tolerations } : {}),
  };
  const isReadable = JSON.stringify(placement).length <= MAX_PLACEMENT;
  return {
    priority,
    mayPreempt: preemptionPolicy !== "Never" && isReadable,
    createdAt: Date.parse(metadata.creationTimestamp ?? "") || 0,
    nodesWithoutDevices: isUnschedulable ? Number(WITHOUT_DEVICES.exec(message)?.[1] ?? 0) : 0,
    claims: resourceClaims.length,
    placement: isReadable ? placement : {},
  };
}
