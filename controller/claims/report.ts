import { setTimeout as sleep } from "node:timers/promises";
import type { EventRecorder } from "../../kubernetes/events.ts";
import type { ResourceClaim } from "../../kubernetes/resource_claim.ts";
import type { Latest } from "../../program/latest.ts";
import { type Logger, messageOf } from "../../program/log/log.ts";
import { publishedGpus } from "../slices/gpus.ts";
import { isWhole, type State } from "../state.ts";
import { heldUnits } from "./claims.ts";
import { shortageOf } from "./shortage.ts";

/** How often is looked for pods that wait, in ms. One that waits less is not worth a word. */
const PERIOD = 5000;

/** For how long a pod's last Event stands at the least, in ms: a busy pool changes faster than one can read. */
const REST = 30_000;

export interface ReportOptions {
  state: Latest<State>;
  record: EventRecorder;
  log: Logger;
  /** In ms. */
  period?: number;
  rest?: number;
  signal: AbortSignal;
}

/** Tells the users of pods that wait, by an Event of the pod, what the pool lacks: once, and again when that changes. */
export async function keepReported(options: ReportOptions): Promise<void> {
  const { state, record, log, period = PERIOD, rest = REST, signal } = options;
  let waiting = new Map<string, Waiting>();
  while (!signal.aborted) {
    await sleep(period, undefined, { signal }).catch(() => {}); // only the signal ends it early
    const { current = {} } = state;
    if (signal.aborted || !isWhole(current)) continue;
    const before = waiting;
    waiting = new Map();
    const gpus = publishedGpus(current.slices.values(), heldUnits(current.claims.values()));
    for (const [key, claim] of current.claims) {
      const shortage = shortageOf(claim, gpus);
      if (!shortage) continue;
      const last = before.get(key);
      const isDue = last && shortage !== last.said && performance.now() - last.saidAt >= rest;
      waiting.set(key, isDue ? { said: shortage, saidAt: performance.now() } : (last ?? NEW));
      if (isDue) {
        await tell(claim, shortage, record).catch((error) =>
          log.warn("Cannot record an Event", { claim: key, reason: messageOf(error) }),
        );
      }
    }
  }
}

interface Waiting {
  readonly said?: string;
  readonly saidAt: number;
}

/** Of a claim that was not waiting at the look before. */
const NEW: Waiting = { saidAt: Number.NEGATIVE_INFINITY };

/** The Event is of the pod that the claim was made for. One without a pod is nobody's to be told of. */
async function tell({ metadata }: ResourceClaim, shortage: string, record: EventRecorder): Promise<void> {
  const pod = metadata.ownerReferences?.find(({ kind }) => kind === "Pod");
  if (!pod) return;
  const { name, uid, apiVersion } = pod;
  await record({
    kind: "Pod",
    apiVersion,
    name,
    uid,
    ...(metadata.namespace ? { namespace: metadata.namespace } : {}),
    type: "Warning",
    reason: "WaitingForPool",
    message: `Waiting for the pool: ${shortage}`,
  });
}
