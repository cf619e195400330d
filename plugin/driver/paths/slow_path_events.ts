import type { EventRecorder } from "../../../kubernetes/events.ts";
import { type Logger, messageOf } from "../../../program/log/log.ts";
import type { FindConsumers } from "../claims/consumers.ts";
import type { PreparedClaim } from "../files/prepared_claim.ts";
import type { SlowPath } from "./path_watch.ts";

export interface SlowPathEventsOptions {
  findConsumers: FindConsumers;
  record: EventRecorder;
  /** SLOW_ROUND_TRIP, in ms. */
  limit: number;
  log: Logger;
  /** The current time in ms, of a clock that only runs forward. */
  now?: () => number;
}

/** What was done for the leases of a claim on a server. */
interface Told {
  /** The uids of the pods that know of the slow path. */
  readonly pods: ReadonlySet<string>;
  /** When to try again to tell the others, in ms. Undefined: all know. */
  readonly retryAt?: number;
}

/** Shortest time between two events of a pod, and between two attempts for a claim, in ms. */
const PAUSE = 30_000;

/**
 * Creates a function that tells pods of slow paths to their GPUs, by an event for each pod and server until the path has recovered. Each call tells
 * the pods of one claim at most: a path can be slow for many nodes at the same time.
 */
export function createSlowPathEvents(options: SlowPathEventsOptions) {
  const { findConsumers, record, limit, log, now = () => performance.now() } = options;
  const told = new Map<string, Told>();
  /** When a pod got its last event, by uid. */
  const lastEvents = new Map<string, number>();

  /** Tells the pods that use a claim on this node, and adds them to those that know. Returns whether some have to wait. */
  async function tell({ address, roundTrip }: SlowPath, claim: PreparedClaim, pods: Set<string>, signal: AbortSignal) {
    let isPostponed = false;
    for (const object of await findConsumers(claim, signal)) {
      const { uid } = object;
      if (pods.has(uid)) continue;
      if (lastEvents.has(uid)) {
        isPostponed = true;
        continue;
      }
      await record({
        object,
        type: "Warning",
        reason: "SlowRoundTrip",
        message: describeSlowPath({ address, roundTrip }, limit),
      });
      lastEvents.set(uid, now());
      pods.add(uid);
    }
    return isPostponed;
  }

  /** The pods that know of the slow path to this server. */
  function toldOf(address: string): string[] {
    return [...told].flatMap(([key, { pods }]) => (key.startsWith(`${address} `) ? [...pods] : []));
  }

  return async (paths: readonly SlowPath[], signal: AbortSignal): Promise<void> => {
    const all = paths.flatMap((path) =>
      path.claims.map((claim) => ({ key: `${path.address} ${claim.uid}`, path, claim })),
    );
    const keys = new Set(all.map(({ key }) => key));
    for (const key of told.keys()) if (!keys.has(key)) told.delete(key); // it has recovered, or the claim is gone
    for (const [uid, time] of lastEvents) if (now() - time >= PAUSE) lastEvents.delete(uid);
    const next =
      all.find(({ key }) => !told.has(key)) ?? all.find(({ key }) => (told.get(key)?.retryAt ?? Infinity) <= now());
    if (!next) return;
    const { key, path, claim } = next;
    const pods = new Set(toldOf(path.address));
    try {
      const isPostponed = await tell(path, claim, pods, signal);
      told.set(key, { pods, ...(isPostponed ? { retryAt: now() + PAUSE } : {}) });
    } catch (error) {
      if (signal.aborted) return;
      told.set(key, { pods, retryAt: now() + PAUSE });
      const { namespace, name } = claim;
      log.warn("Cannot tell pods of a slow path", { namespace, name, address: path.address, reason: messageOf(error) });
    }
  };
}

/** The message of the event: what it means, and what a user can do. */
function describeSlowPath({ address, roundTrip }: Pick<SlowPath, "address" | "roundTrip">, limit: number): string {
  return (
    `The round trip to pool server ${address} takes ${format(roundTrip)} ms, more than the ${limit} ms of SLOW_ROUND_TRIP: ` +
    "programs wait for it at each call that needs an answer of the GPU. For a shorter one, run the pod on a node that is nearer to the server " +
    "(spec.nodeSelector), or choose another server (annotation bitfusion-client/filter). An administrator can limit a server to the nodes near it."
  );
}

function format(ms: number): string {
  return ms < 10 ? ms.toFixed(1) : ms.toFixed(0);
}
