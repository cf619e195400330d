/** Pods that release their units together: one pod, or several that share a claim. */
export interface Holder {
  readonly pods: readonly { readonly uid: string; readonly priority: number }[];
  /** The highest of its pods. */
  readonly priority: number;
  /** When the first of its pods started, in ms since the epoch. */
  readonly startedAt: number;
  /** Units by the keys of GPUs. */
  readonly shares: ReadonlyMap<string, number>;
}

/** Makes each priority positive, so that fewer pods of a negative priority are better, too. */
const OFFSET = 2 ** 31;

/** What decides between sets of victims. */
export interface Rank {
  highest: number;
  sum: number;
  pods: number;
  start: number;
}

/**
 * Compares two sets of victims as kube-scheduler does (pickOneNodeForPreemption, pkg/scheduler/framework/preemption/preemption.go). Better is,
 * in this order: the lower highest priority; the smaller sum of priorities, which in practice means fewer pods; fewer pods; of those with the highest
 * priority, the later start of the first. Disruption budgets come before all of that: they are not violated at all.
 *
 * @returns a negative number if `a` is better
 */
export function compareVictims(a: Iterable<Holder>, b: Iterable<Holder>): number {
  return compareRanks(rankVictims(a), rankVictims(b));
}

/** {@link compareVictims} by what {@link rankVictims} returns. */
export function compareRanks(a: Rank, b: Rank): number {
  return a.highest - b.highest || a.sum - b.sum || a.pods - b.pods || b.start - a.start;
}

export function rankVictims(victims: Iterable<Holder>): Rank {
  const result: Rank = { highest: -OFFSET - 1, sum: 0, pods: 0, start: Number.MAX_VALUE };
  for (const { pods, priority, startedAt } of victims) {
    for (const pod of pods) result.sum += pod.priority + OFFSET;
    result.pods += pods.length;
    if (priority > result.highest) [result.highest, result.start] = [priority, startedAt];
    else if (priority === result.highest) result.start = Math.min(result.start, startedAt);
  }
  return result;
}

/** Orders holders as kube-scheduler spares them: those of higher priority first, then those that started earlier. */
export function compareImportance(a: Holder, b: Holder): number {
  return b.priority - a.priority || a.startedAt - b.startedAt;
}
