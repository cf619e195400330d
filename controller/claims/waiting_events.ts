import { setTimeout as sleep } from "node:timers/promises";
import type { EventRecorder } from "../../kubernetes/events.ts";
import { type Logger, messageOf } from "../../program/log/log.ts";
import type { ClaimIndex, WaitingClaim } from "./claim_index.ts";
import { describeShortage } from "./shortage.ts";
import type { GpuSupply } from "./supply.ts";

export interface WaitingEventsOptions {
  claims: ClaimIndex;
  /** The published GPUs. Undefined while they are not known. */
  supply: () => readonly GpuSupply[] | undefined;
  record: EventRecorder;
  log: Logger;
  /** How long a claim must wait before its pod gets an event, in ms. */
  gracePeriod?: number;
  /** Time between two checks of a claim, in ms: the pool changes faster than a user reads. */
  interval?: number;
  /** Time between two rounds, in ms. */
  period?: number;
  signal: AbortSignal;
}

/** The most events of one round. With a round per second this is ten a second, however many pods wait. */
const MAX_EVENTS = 10;

/** The most shortages that are computed in one round: each looks at every GPU. Requests for the same share need only one. */
const MAX_SHORTAGES = 30;

/**
 * Records an event for each pod that waits for the pool, which says what is missing, and another one when that changes. Returns when the
 * signal is aborted.
 */
export async function reportWaitingPods(options: WaitingEventsOptions): Promise<void> {
  const { claims, gracePeriod = 5000, interval = 30_000, period = 1000, signal } = options;
  const states = new Map<string, WaitingState>();
  while (!signal.aborted) {
    await sleep(period, undefined, { signal }).catch(() => {}); // rejects only when aborted
    const now = performance.now();
    for (const key of states.keys()) if (!claims.waiting.has(key)) states.delete(key);
    for (const key of claims.waiting.keys()) if (!states.has(key)) states.set(key, { checkAt: now + gracePeriod });
    const due = [...states].filter(([, { checkAt }]) => checkAt <= now);
    if (due.length > 0 && !signal.aborted) await report(due, options, () => performance.now() + interval);
  }
}

interface WaitingState {
  /** When to check the claim next, as performance.now(). */
  checkAt: number;
  /** The last message of an event. */
  message?: string;
}

async function report(
  due: readonly [string, WaitingState][],
  { claims, supply, record, log, signal }: WaitingEventsOptions,
  nextCheck: () => number,
): Promise<void> {
  const gpus = supply();
  if (!gpus) return;
  const shortages = new Map<string, string | undefined>();
  let events = 0;
  for (const [key, state] of due) {
    const claim = claims.waiting.get(key);
    if (!claim) continue;
    const { request } = claim;
    if (!shortages.has(request.key)) {
      if (shortages.size >= MAX_SHORTAGES) return; // the others are checked in the next round
      if (shortages.size > 0) await yieldToEventLoop();
      shortages.set(request.key, describeShortage(request, gpus));
    }
    const message = shortages.get(request.key);
    if (message !== undefined && message !== state.message && claim.pod) {
      if (events++ >= MAX_EVENTS || signal.aborted) return;
      await recordEvent(claim, message, record).catch((error) =>
        log.warn("Cannot record an event", { claim: key, reason: messageOf(error) }),
      );
      state.message = message;
    }
    state.checkAt = nextCheck();
  }
}

async function recordEvent({ pod, namespace }: WaitingClaim, shortage: string, record: EventRecorder): Promise<void> {
  if (!pod) return;
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
