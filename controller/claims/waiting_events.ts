import { setTimeout as sleep } from "node:timers/promises";
import type { EventRecorder } from "../../kubernetes/events.ts";
import { groupByPod, type WaitingPod } from "../../pool/claims/waiting_pods.ts";
import { shortageChecks } from "../../pool/requests/shortage_checks.ts";
import type { GpuSupply } from "../../pool/requests/supply.ts";
import { type Logger, messageOf } from "../../program/log/log.ts";
import type { ClaimIndex } from "./claim_index.ts";
import type { PodClaims } from "./pod_claims.ts";

export interface WaitingEventsOptions {
  claims: ClaimIndex;
  /** The published GPUs, with the taints of rules. Undefined while they are not known. */
  supply: () => Promise<readonly GpuSupply[] | undefined>;
  /** The nodes that a pod selects. Undefined: any. */
  nodesOf?: PodClaims["nodesOf"];
  record: EventRecorder;
  log: Logger;
  /** How long a pod must wait before it gets an event, in ms. */
  gracePeriod?: number;
  /** Time between two checks of a pod, in ms: the pool changes faster than a user reads. */
  interval?: number;
  /** Time between two rounds, in ms. */
  period?: number;
  signal: AbortSignal;
}

/** The most events of one round. With a round per second this is ten a second, however many pods wait. */
const MAX_EVENTS = 10;

/**
 * The most shortages that are computed in one round, apart from those of the last pod: each looks at every GPU. Requests for the same share
 * need only one.
 */
const MAX_SHORTAGES = 30;

/**
 * Records an event for each pod that waits for the pool, which says what is missing, and another one when that changes. Returns when the
 * signal is aborted.
 */
export async function reportWaitingPods(options: WaitingEventsOptions): Promise<void> {
  const { claims, log, gracePeriod = 5000, interval = 30_000, period = 1000, signal } = options;
  const states = new Map<string, WaitingState>();
  let logged: string | undefined;
  while (!signal.aborted) {
    await sleep(period, undefined, { signal }).catch(() => {}); // rejects only when aborted
    const now = performance.now();
    const pods = groupByPod(claims.waiting.values());
    for (const key of states.keys()) if (!pods.has(key)) states.delete(key);
    const due: [WaitingPod, WaitingState][] = [];
    for (const [key, pod] of pods) {
      const state = states.get(key) ?? { checkAt: now + gracePeriod };
      states.set(key, state);
      if (state.checkAt <= now) due.push([pod, state]);
    }
    if (due.length === 0 || signal.aborted) continue;
    const failure = await report(due, options, () => performance.now() + interval).then(() => undefined, messageOf);
    if (failure !== undefined && failure !== logged && !signal.aborted) {
      log.warn("Cannot find out what pods wait for", { reason: failure });
    }
    logged = failure;
  }
}

interface WaitingState {
  /** When to check the pod next, as performance.now(). */
  checkAt: number;
  /** The last message of an event. */
  message?: string;
}

async function report(
  due: readonly [WaitingPod, WaitingState][],
  { supply, nodesOf, record, log, signal }: WaitingEventsOptions,
  nextCheck: () => number,
): Promise<void> {
  const gpus = await supply();
  if (!gpus) return;
  const shortages = createShortages(gpus, nodesOf);
  let events = 0;
  for (const [pod, state] of due) {
    if (shortages.computed >= MAX_SHORTAGES) return; // the others are checked in the next round
    const message = await shortages.of(pod);
    if (message !== undefined && message !== state.message) {
      if (events++ >= MAX_EVENTS || signal.aborted) return;
      await recordEvent(pod, message, record).catch((error) =>
        log.warn("Cannot record an event", { namespace: pod.namespace, pod: pod.pod.name, reason: messageOf(error) }),
      );
      state.message = message;
    }
    state.checkAt = nextCheck();
  }
}

/** Computes what pods lack, each shortage once. Between two of them, the event loop runs. */
function createShortages(gpus: readonly GpuSupply[], nodesOf: PodClaims["nodesOf"] = () => undefined) {
  const known = new Map<string, string | undefined>();
  return {
    get computed() {
      return known.size;
    },
    async of({ namespace, pod: { name, uid }, claims }: WaitingPod): Promise<string | undefined> {
      const nodes = nodesOf({ namespace, name, uid });
      for (const { key, describe, inMessage } of shortageChecks(claims, gpus, nodes)) {
        if (!known.has(key)) {
          if (known.size > 0) await yieldToEventLoop();
          known.set(key, describe());
        }
        const shortage = known.get(key);
        if (shortage !== undefined) return inMessage(shortage);
      }
      return undefined;
    },
  };
}

async function recordEvent({ pod, namespace }: WaitingPod, shortage: string, record: EventRecorder): Promise<void> {
  const { kind, apiVersion, name, uid } = pod;
  await record({
    object: { kind, apiVersion, namespace, name, uid },
    type: "Warning",
    reason: "WaitingForPool",
    message: `Waiting for the pool: ${shortage}`,
  });
}

function yieldToEventLoop(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
