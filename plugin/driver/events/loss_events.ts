import type { EventRecorder } from "../../../kubernetes/events.ts";
import type { Latest } from "../../../program/latest.ts";
import { type Logger, messageOf } from "../../../program/log/log.ts";
import type { FindConsumers } from "../claims/consumers.ts";
import type { ClaimHealth, NodeHealth } from "../health/lease_health.ts";
import { type ShareHealth, sharesOf } from "../health/share_health.ts";

export interface LossEventsOptions {
  health: Latest<NodeHealth>;
  findConsumers: FindConsumers;
  record: EventRecorder;
  log: Logger;
  /** The current time in ms, of a clock that only runs forward. */
  now?: () => number;
}

/** Shortest time between two events of a claim, in ms. */
const PAUSE = 30_000;

/** What the pods of a claim were told. */
interface Told {
  /** The shares that cannot be used, with the reasons: {@link keyOf}. */
  readonly losses: string;
  readonly toldAt: number;
}

/**
 * Tells pods by an event when they can no longer use one of their GPUs, and when they can use all again: the claim's pods once for each change, at
 * most each 30 s. A change that comes sooner is told with the round of renewals after that. A failure is logged and tried again in the same way.
 * Returns when the signal is aborted.
 */
export async function reportLosses(options: LossEventsOptions, signal: AbortSignal): Promise<void> {
  const { health, findConsumers, record, log, now = () => performance.now() } = options;
  const told = new Map<string, Told>();

  async function report({ claim }: ClaimHealth, lost: readonly ShareHealth[]): Promise<void> {
    const event =
      lost.length > 0
        ? ({
            type: "Warning",
            reason: "GPUsLost",
            message: lost.map(({ verdict }) => verdict.message).join("; "),
          } as const)
        : ({ type: "Normal", reason: "GPUsRecovered", message: "All GPUs can be used again" } as const);
    for (const object of await findConsumers(claim, signal)) await record({ object, ...event });
  }

  for await (const current of health.changes(signal)) {
    for (const uid of told.keys()) if (!current.has(uid)) told.delete(uid);
    for (const [uid, claim] of current) {
      const lost = sharesOf(claim).filter(({ verdict }) => verdict.status === "False");
      const losses = keyOf(lost);
      const before = told.get(uid) ?? { losses: "", toldAt: Number.NEGATIVE_INFINITY };
      if (losses === before.losses || now() - before.toldAt < PAUSE) continue;
      const failure = await report(claim, lost).then(() => undefined, messageOf);
      if (signal.aborted) return;
      told.set(uid, { losses: failure === undefined ? losses : before.losses, toldAt: now() });
      const { namespace, name } = claim.claim;
      if (failure !== undefined) log.warn("Cannot tell pods of lost GPUs", { namespace, name, reason: failure });
    }
  }
}

function keyOf(lost: readonly ShareHealth[]): string {
  return lost
    .map(({ gpuId, verdict }) => `${verdict.reason} ${gpuId}`)
    .toSorted()
    .join("\n");
}
