import { type Event, lastSeen, timesSeen } from "../../kubernetes/objects/event.ts";
import { byTexts, foreignText } from "./text.ts";
import type { Refusal } from "./types.ts";

/** The events of a cluster, by the pods that they are about. */
export interface EventIndex {
  /** The events of a pod, the newest first. */
  of(pod: { namespace: string; name: string; uid: string }): readonly Event[];
}

const newestFirst = byTexts<Event>(lastSeen, ({ metadata }) => metadata.name);

export function indexEvents(events: Iterable<Event> = []): EventIndex {
  const byPod = Map.groupBy(
    [...events].filter(({ involvedObject }) => involvedObject.kind === "Pod"),
    ({ involvedObject: { namespace, name }, metadata }) => `${metadata.namespace ?? namespace}/${name}`,
  );
  return {
    of({ namespace, name, uid }) {
      const own = (byPod.get(`${namespace}/${name}`) ?? []).filter(
        ({ involvedObject }) => !involvedObject.uid || !uid || involvedObject.uid === uid,
      );
      return own.sort(newestFirst).reverse();
    },
  };
}

/** The most reasons of events that are shown for a pod. */
const MAX_REASONS = 5;

/** What the warnings about a pod say: the newest of each reason. The scheduler's own is left out, because the pod's status says it too. */
export function eventReasons(events: readonly Event[], except: readonly string[]): string[] {
  const newest = new Map<string, string>();
  for (const { type, reason = "", message = "" } of events) {
    if (type !== "Warning" || reason === "FailedScheduling" || except.includes(reason)) continue;
    if (!newest.has(reason)) newest.set(reason, message);
  }
  return [...newest.values()].slice(0, MAX_REASONS);
}

/** What names a share in the refusal of a pod: the webhooks, the policies and the counted resource all do. */
const OWN_REFUSAL = /bitfusion/i;

/** Owners whose pods were refused because of their share. Events of other refusals are not about the pool. */
export function refusalsIn(events: Iterable<Event> = []): Refusal[] {
  const newest = new Map<string, Refusal>();
  for (const event of events) {
    const { involvedObject, reason, message = "", metadata } = event;
    if (reason !== "FailedCreate" || !OWN_REFUSAL.test(message)) continue;
    const { kind = "", name = "" } = involvedObject;
    const namespace = metadata.namespace ?? involvedObject.namespace ?? "";
    const refusal = { namespace, kind: foreignText(kind), name: foreignText(name), message: foreignText(message) };
    const key = `${namespace}/${kind}/${name}`;
    const known = newest.get(key);
    const seen = { ...refusal, lastSeen: lastSeen(event), count: timesSeen(event) };
    if (!known || known.lastSeen < seen.lastSeen) newest.set(key, seen);
  }
  const byTime = byTexts<Refusal>(
    (each) => each.lastSeen,
    ({ namespace, kind, name }) => `${namespace}/${kind}/${name}`,
  );
  return [...newest.values()].sort((a, b) => byTime(b, a));
}
