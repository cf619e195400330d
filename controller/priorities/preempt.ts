import { setTimeout as sleep } from "node:timers/promises";
import { KubernetesError } from "../../kubernetes/error.ts";
import type { EventRecorder } from "../../kubernetes/events.ts";
import { PODS, type Pod } from "../../kubernetes/objects/pod.ts";
import type { KubernetesRequest } from "../../kubernetes/request.ts";
import { watchObjects } from "../../kubernetes/watch.ts";
import type { PublishedGpu } from "../../pool/requests/supply.ts";
import { createBackoff } from "../../program/backoff.ts";
import { type Logger, messageOf } from "../../program/log/log.ts";
import type { ClaimIndex } from "../claims/claim_index.ts";
import type { PendingPod } from "../claims/pending_pod.ts";
import { applyTaintRules, listTaintRules } from "../claims/taint_rules.ts";
import { createFollowed, type Followed } from "../followed.ts";
import type { ControllerMetrics } from "../metrics.ts";
import type { NodePlacement } from "../nodes/placement.ts";
import { BOUND_PODS, type BoundPod, summarizeBoundPod } from "./bound_pod.ts";
import { type EvictionResult, evictPod } from "./evict.ts";
import { readHoldings } from "./holders.ts";
import { createMemory } from "./memory.ts";
import { type Preemption, planPreemptions } from "./plan.ts";
import { readWaiters, type Waiter } from "./waiters.ts";

export interface PreemptionOptions {
  request: KubernetesRequest;
  claims: Pick<ClaimIndex, "isSynced" | "claims" | "waiting">;
  /** The pods with claims that are not bound yet. */
  pending: Followed<PendingPod>;
  nodes: Followed<NodePlacement>;
  /** The published GPUs. Undefined while they are not known. */
  supply: () => readonly PublishedGpu[] | undefined;
  record: EventRecorder;
  log: Logger;
  metrics: Pick<ControllerMetrics, "preemptions" | "preemptionVictims">;
  /** Shortest time between two rounds, in ms. */
  period?: number;
}

/** The most pods that are decided about in one round, and the most that are evicted. */
const MAX_DECISIONS = 30;
const MAX_VICTIMS = 20;

/** After a round, the next one waits for this many times the time that the decisions took: they take at most 10 % of a core. */
const REST = 9;

/**
 * Evicts pods for pods of higher priority that wait for their units, as kube-scheduler does for other resources: it does not for devices (KEP-5690).
 * What is remembered from round to round only avoids work: pods that are being deleted count as gone, so another leader goes on where this one
 * stopped. Returns when the signal is aborted.
 */
export async function preemptPods(options: PreemptionOptions, signal: AbortSignal): Promise<void> {
  const { request, claims, pending, nodes, supply, record, log, metrics, period = 1000 } = options;
  const bound = createFollowed<BoundPod>();
  const memory = createMemory();

  async function followPods(): Promise<void> {
    const watch = { request, path: PODS, query: BOUND_PODS, transform: summarizeBoundPod, log };
    for await (const change of watchObjects<Pod, BoundPod>(watch, signal)) bound.apply(change);
  }

  /** Returns how long the decisions took, in ms. */
  async function runRound(): Promise<number> {
    const start = performance.now();
    if (![claims, pending, bound, nodes].every(({ isSynced }) => isSynced)) return 0;
    const waiters = readWaiters(pending.objects.values(), claims.waiting.values());
    const gpus = supply();
    const lowest = [...bound.objects.values()].reduce((least, { priority }) => Math.min(least, priority), Infinity);
    if (!gpus || !waiters[0] || waiters[0].scheduling.priority <= lowest) return performance.now() - start;

    const asking = performance.now();
    const rules = await listTaintRules(request, signal); // few need them, so they are not watched
    const asked = performance.now() - asking;
    const untainted = applyTaintRules(gpus, rules).filter(({ isTainted }) => !isTainted);
    const now = Date.now();
    const podsByUid = new Map([...bound.objects.values()].map((pod) => [pod.uid, pod]));
    const pendingUids = new Set([...pending.objects.values()].map(({ uid }) => uid));
    memory.startRound(now, { exists: (uid) => podsByUid.has(uid) || pendingUids.has(uid) });
    const holdings = readHoldings({ ...memory, claims: claims.claims, bound: podsByUid, pending: pendingUids, now });
    const plan = planPreemptions({ ...memory, waiters, supply: untainted, holdings, nodes: nodes.objects });
    let busy = performance.now() - start - asked;
    let evicted = 0;
    for (let decisions = 0; decisions < MAX_DECISIONS && evicted < MAX_VICTIMS && !signal.aborted; decisions++) {
      const before = performance.now();
      const { value: decision, done } = plan.next();
      busy += performance.now() - before;
      if (done) break;
      if (decision?.type === "preempt") evicted += await preempt(decision);
      else if (decision && memory.tell(decision.waiter.uid)) await report(decision.waiter);
      else await new Promise(setImmediate);
    }
    return busy;
  }

  /** Returns the number of pods that were evicted. */
  async function preempt({ waiter, victims }: Preemption): Promise<number> {
    const pods = victims.flatMap((victim) => victim.pods.map((pod) => ({ pod, gpus: [...victim.shares.keys()] })));
    // All or none, as far as one can know: the pod needs the units of all of them.
    for (const { pod } of pods) {
      if ((await tryToEvict(pod, true)) === "protected") {
        metrics.preemptions.inc({ result: "blocked" });
        return 0;
      }
    }
    let evicted = 0;
    for (const { pod, gpus } of pods) {
      if ((await tryToEvict(pod, false)) !== "evicted") continue;
      evicted++;
      memory.noteEviction(pod.uid);
      metrics.preemptionVictims.inc();
      log.info("Pod preempted", { namespace: pod.namespace, pod: pod.name, by: waiter.uid });
      const message = `Preempted by pod ${waiter.uid} on ${describeGpus(gpus)}`;
      await recordEvent(pod, { type: "Normal", reason: "Preempted", message });
    }
    if (evicted === 0) return 0;
    memory.pause(waiter.uid);
    metrics.preemptions.inc({ result: "evicted" });
    const message = `Pods of lower priority that were evicted to make room: ${evicted}`;
    await recordEvent(waiter, { type: "Normal", reason: "Preempting", message });
    return evicted;
  }

  async function tryToEvict(pod: BoundPod, dryRun: boolean): Promise<EvictionResult> {
    signal.throwIfAborted();
    const { namespace, name, uid } = pod;
    try {
      const result = await evictPod(request, pod, { dryRun, signal });
      if (result === "protected") memory.protect(uid);
      return result;
    } catch (error) {
      if (!(error instanceof KubernetesError)) throw error;
      memory.protect(uid);
      log.warn("Cannot evict a pod", { namespace, pod: name, reason: messageOf(error) });
      return "protected";
    }
  }

  async function report(waiter: Waiter): Promise<void> {
    const message =
      "Pods of lower priority hold units that it needs, but they cannot be evicted now: disruption budgets or policies protect them";
    await recordEvent(waiter, { type: "Warning", reason: "PreemptionBlocked", message });
  }

  async function recordEvent(
    { namespace, name, uid }: Pick<BoundPod, "namespace" | "name" | "uid">,
    event: { type: "Normal" | "Warning"; reason: string; message: string },
  ): Promise<void> {
    const object = { kind: "Pod", apiVersion: "v1", namespace, name, uid };
    await record({ object, ...event }).catch((error) =>
      log.warn("Cannot record an event", { namespace, pod: name, reason: messageOf(error) }),
    );
  }

  async function runRounds(): Promise<void> {
    const backoff = createBackoff({ initial: period, max: 60_000 });
    while (!signal.aborted) {
      try {
        const busy = await runRound();
        backoff.reset();
        await sleep(Math.max(period, busy * REST), undefined, { signal }).catch(() => {}); // rejects only when aborted
      } catch (error) {
        if (signal.aborted) return;
        log.warn("Cannot preempt pods", { reason: messageOf(error) });
        await backoff.wait(signal).catch(() => {}); // rejects only when aborted
      }
    }
  }

  await Promise.all([followPods(), runRounds()]);
}

/** The most GPUs that a message lists. */
const MAX_LISTED = 4;

function describeGpus(keys: readonly string[]): string {
  const listed = keys.slice(0, MAX_LISTED);
  if (keys.length > MAX_LISTED) listed.push(`${keys.length - MAX_LISTED} others`);
  return `GPU ${new Intl.ListFormat("en-GB").format(listed)}`;
}
