/** What the rounds remember, in the terms of the decisions. Losing it costs requests, or a pod a second eviction for the same one at worst. */
export interface PreemptionMemory {
  /** Starts a round, and forgets what does not exist any more. */
  startRound(now: number, pods: { exists(uid: string): boolean }): void;
  /** Whether a pod was evicted a moment ago: the watch may not have told yet. */
  isEvicted(uid: string): boolean;
  /** Whether a claim has had no pods for a short time. Ask in each round. */
  isAbandonedRecently(claim: string): boolean;
  /** Whether a pod cannot be evicted now. */
  isProtected(uid: string): boolean;
  /** Whether a pod has preempted others a moment ago, and now gets time to be scheduled. */
  isPaused(uid: string): boolean;
  noteEviction(uid: string): void;
  /** A budget or a policy has refused the eviction of a pod. The next try is later each time. */
  protect(uid: string): void;
  /** Others were evicted for a pod. The next time is later each time. */
  pause(uid: string): void;
  /** Whether the user of a pod has not been told yet that no pod can be evicted for it. */
  tell(uid: string): boolean;
}

/** How long a watch may lag behind an eviction, in ms. */
const LAG = 30_000;

/** How long Kubernetes may take to release the claims of pods that have ended: kube-controller-manager writes 20 in a second. In ms. */
const RELEASE = 60_000;

/** First and longest time until a pod that could not be evicted is tried again, in ms. */
const PROTECTED = { initial: 30_000, max: 600_000 };

/** First and longest time until a pod that has preempted others may do it again, in ms. The scheduler tries a pod again after 10 s at the latest. */
const PAUSED = { initial: 15_000, max: 300_000 };

export function createMemory(): PreemptionMemory {
  let now = 0;
  const evicted = new Map<string, number>();
  const protectedPods = createDelays(PROTECTED);
  const paused = createDelays(PAUSED);
  const told = new Set<string>();
  /** When each claim was first seen without pods. */
  let abandoned = new Map<string, number>();
  let abandonedBefore = abandoned;
  return {
    startRound(time, { exists }) {
      now = time;
      for (const [uid, evictedAt] of evicted) if (evictedAt + LAG <= now) evicted.delete(uid);
      for (const uid of told) if (!exists(uid)) told.delete(uid);
      protectedPods.keep(exists);
      paused.keep(exists);
      abandonedBefore = abandoned;
      abandoned = new Map();
    },
    isEvicted: (uid) => evicted.has(uid),
    isAbandonedRecently(claim) {
      const since = abandonedBefore.get(claim) ?? now;
      abandoned.set(claim, since);
      return now < since + RELEASE;
    },
    isProtected: (uid) => protectedPods.isDelayed(uid, now),
    isPaused: (uid) => paused.isDelayed(uid, now),
    noteEviction: (uid) => void evicted.set(uid, now),
    protect: (uid) => protectedPods.add(uid, now),
    pause(uid) {
      paused.add(uid, now);
      told.delete(uid);
    },
    tell(uid) {
      if (told.has(uid)) return false;
      told.add(uid);
      return true;
    },
  };
}

/** Delays that double each time. */
function createDelays({ initial, max }: { initial: number; max: number }) {
  const entries = new Map<string, { readonly until: number; readonly delay: number }>();
  return {
    add(key: string, now: number): void {
      const delay = Math.min((entries.get(key)?.delay ?? initial / 2) * 2, max);
      entries.set(key, { until: now + delay, delay });
    },
    isDelayed: (key: string, now: number): boolean => (entries.get(key)?.until ?? 0) > now,
    keep(isKept: (key: string) => boolean): void {
      for (const key of entries.keys()) if (!isKept(key)) entries.delete(key);
    },
  };
}
