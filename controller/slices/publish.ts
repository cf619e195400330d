import type { KubernetesRequest } from "../../kubernetes/request.ts";
import { createBackoff } from "../../program/backoff.ts";
import type { Latest } from "../../program/latest.ts";
import { type Logger, messageOf } from "../../program/log/log.ts";
import { heldUnits } from "../claims/claims.ts";
import type { ControllerMetrics } from "../metrics.ts";
import { isWhole, type State } from "../state.ts";
import { planSlices } from "./plan.ts";
import { isSeen, type Written, writePlan } from "./write.ts";

export interface PublishOptions {
  request: KubernetesRequest;
  state: Latest<State>;
  /** How long a GPU may be away until the pods that hold it are evicted, in ms; never if absent. */
  evictAfter?: number | undefined;
  /** ms since the epoch. */
  now: () => number;
  log: Logger;
  metrics: Pick<ControllerMetrics, "writes">;
  signal: AbortSignal;
}

/** How long the API server may take to tell what was written, in ms. */
const ECHO = 5000;

/** Keeps the slices as the pool is, until the signal is aborted. */
export async function keepPublished(options: PublishOptions): Promise<void> {
  const { request, state, evictAfter, now, log, metrics, signal } = options;
  const backoff = createBackoff();
  const collided = new Set<string>();
  let timer: ReturnType<typeof setTimeout> | undefined;
  const lookAgain = () => state.set({ ...state.current });
  try {
    for await (const current of state.changes(signal)) {
      clearTimeout(timer);
      if (!isWhole(current)) continue;
      const { inventory, slices, claims } = current;
      const held = heldUnits(claims.values());
      const plan = planSlices({ inventory, slices: [...slices.values()], held }, { now: now(), evictAfter });
      for (const gpu of plan.collisions) {
        if (!collided.has(gpu)) log.warn("GPU is left out: another one has its name", { gpu });
        collided.add(gpu);
      }
      if (plan.lookAgain !== undefined) timer = setTimeout(lookAgain, Math.max(0, plan.lookAgain - now()));
      try {
        const written = await writePlan(plan, { request, log, metrics, signal });
        if (written.size > 0) await untilSeen(written, state, signal);
        backoff.reset();
      } catch (error) {
        if (signal.aborted) return;
        log.warn("Cannot write the pool's slices", { reason: messageOf(error) });
        await backoff.wait(signal).catch(() => {}); // only the signal ends it early
        lookAgain();
      }
    }
  } finally {
    clearTimeout(timer);
  }
}

/** What was written is not planned again for not having come back yet. */
async function untilSeen(written: Written, state: Latest<State>, signal: AbortSignal): Promise<void> {
  const limit = AbortSignal.timeout(ECHO);
  for await (const { slices } of state.changes(AbortSignal.any([signal, limit]))) {
    if (slices && isSeen(written, slices)) return;
  }
  signal.throwIfAborted();
  throw new Error(`The API server has not told within ${ECHO} ms what was written`);
}
