import type { WaitingClaim } from "../../pool/claims/waiting_claim.ts";
import { groupByPod } from "../../pool/claims/waiting_pods.ts";
import type { GpuRequest } from "../../pool/requests/gpu_request.ts";
import type { PendingPod } from "../claims/pending_pod.ts";
import type { Scheduling } from "../claims/scheduling.ts";

/** A pod that lacks nothing but units of the pool, and may preempt others. */
export interface Waiter {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly scheduling: Scheduling;
  readonly requests: readonly GpuRequest[];
  /** Equal for pods for which the same is chosen. */
  readonly key: string;
}

/** The most claims of a pod that are looked at: owner references can name any pod. */
const MAX_CLAIMS = 32;

/**
 * The pods that may preempt others, in the order of the scheduler's queue: the highest priority first, then the oldest. A pod is none of them until
 * the scheduler has tried it and lacks only devices, and while not all of its claims wait. What claims of other drivers lack is unknown, so pods with
 * such claims are none of them, either.
 */
export function readWaiters(pending: Iterable<PendingPod>, waiting: Iterable<WaitingClaim>): Waiter[] {
  const claimsOf = groupByPod(waiting);
  const waiters: Waiter[] = [];
  for (const { namespace, name, uid, claims, scheduling } of pending) {
    const { mayPreempt, nodesWithoutDevices } = scheduling;
    if (!mayPreempt || nodesWithoutDevices === 0 || "refused" in claims) continue;
    const own = claimsOf.get(`${namespace}/${uid}`)?.claims ?? [];
    if (own.length !== claims.length || own.length !== scheduling.claims || own.length > MAX_CLAIMS) continue;
    const requests = own.map(({ request }) => request);
    const key = JSON.stringify([
      scheduling.priority,
      nodesWithoutDevices,
      scheduling.placement,
      requests.map((request) => request.key).sort(),
    ]);
    waiters.push({ namespace, name, uid, scheduling, requests, key });
  }
  return waiters.sort((a, b) => compareInQueue(a.scheduling, b.scheduling));
}

/** As the queue of kube-scheduler sorts (pkg/scheduler/framework/plugins/queuesort). */
function compareInQueue(a: Scheduling, b: Scheduling): number {
  return b.priority - a.priority || a.createdAt - b.createdAt;
}
