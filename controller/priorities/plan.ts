import type { NodeSelector } from "../../kubernetes/objects/node_selector.ts";
import type { PublishedGpu } from "../../pool/requests/supply.ts";
import type { NodePlacement } from "../nodes/placement.ts";
import { type Choice, chooseVictims } from "./choice/choose.ts";
import { createHolderIndex, type HolderIndex } from "./choice/holder_index.ts";
import type { KeyedGpu } from "./choice/places.ts";
import { compareVictims } from "./choice/rank.ts";
import type { Holdings, PodHolder } from "./holders.ts";
import { isCertain, type Reach, readReaches } from "./reach.ts";
import type { Waiter } from "./waiters.ts";

export interface Preemption {
  readonly waiter: Waiter;
  readonly victims: readonly PodHolder[];
}

export interface PreemptionState {
  /** In the order of the scheduler's queue. */
  readonly waiters: readonly Waiter[];
  /** The GPUs that new pods get. */
  readonly supply: readonly PublishedGpu[];
  readonly holdings: Holdings;
  /** All nodes by name. */
  readonly nodes: ReadonlyMap<string, NodePlacement>;
  /** Whether a pod cannot be evicted now: a disruption budget protects it. */
  isProtected(uid: string): boolean;
  /** Whether a pod must not preempt others now: the scheduler has not had the time yet to use the room of the last time. */
  isPaused(uid: string): boolean;
}

/** The decision about one pod. */
export type Decision =
  | ({ readonly type: "preempt" } & Preemption)
  /** Only pods that cannot be evicted now could make room. */
  | { readonly type: "blocked"; readonly waiter: Waiter };

const NOBODY = createHolderIndex([]);

/**
 * Decides about one pod after another, as long as the caller goes on. No two pods count on the same units: what one of them will get is taken for
 * the next ones. Units that are free soon are free. Pods that fit without an eviction, and those that no eviction helps, are left out.
 */
export function* planPreemptions(state: PreemptionState): Generator<Decision | undefined, void> {
  const { waiters, supply, nodes, isProtected, isPaused } = state;
  const gpus = createUnits(supply, state.holdings.leaving);
  const isEvictable = ({ pods }: PodHolder) => !pods.some(({ uid }) => isProtected(uid));
  const evictable = createHolderIndex(state.holdings.holders.filter(isEvictable));
  const all = state.holdings.holders.every(isEvictable) ? evictable : createHolderIndex(state.holdings.holders);
  const lowest = Math.min(...state.holdings.holders.map(({ priority }) => priority));
  const reaches = readReaches(nodes, gpus.selectors);
  /** What no eviction helps does not become better: there are fewer units for each next pod. */
  const hopeless = new Set<string>();

  for (const waiter of waiters) {
    if (waiter.scheduling.priority <= lowest || hopeless.has(waiter.key)) continue;
    const paused = isPaused(waiter.uid);
    const choice = best(waiter, paused ? NOBODY : evictable);
    if (choice) {
      for (const index of new Set([evictable, all])) index.remove(choice.victims);
      gpus.apply(choice);
      yield choice.victims.length > 0
        ? { type: "preempt", waiter, victims: choice.victims as readonly PodHolder[] }
        : undefined;
      continue;
    }
    if (paused) {
      yield;
      continue;
    }
    hopeless.add(waiter.key);
    yield all !== evictable && best(waiter, all) ? { type: "blocked", waiter } : undefined;
  }

  function best({ scheduling, requests }: Waiter, candidates: HolderIndex): Choice | undefined {
    const { priority, placement, nodesWithoutDevices } = scheduling;
    return reaches
      .filter((reach) => isCertain(placement, nodesWithoutDevices, reach, nodes))
      .flatMap((reach) => chooseVictims({ priority, requests }, gpus.within(reach), candidates) ?? [])
      .reduce<Choice | undefined>((a, b) => (a && compareVictims(a.victims, b.victims) <= 0 ? a : b), undefined);
  }
}

/** The units that pods can still get. */
function createUnits(supply: readonly PublishedGpu[], leaving: ReadonlyMap<string, number>) {
  const selectors = new Map<string, NodeSelector>();
  const gpus: (KeyedGpu & { free: number; nodes: NodeSelector })[] = [];
  for (const { key, attributes, free, nodes } of supply) {
    if (!nodes) continue;
    const text = JSON.stringify(nodes);
    const selector = selectors.get(text) ?? nodes;
    selectors.set(text, selector);
    gpus.push({ key, attributes, free: free + (leaving.get(key) ?? 0), nodes: selector });
  }
  const byKey = new Map(gpus.map((gpu) => [gpu.key, gpu]));
  const add = (key: string, units: number) => {
    const gpu = byKey.get(key);
    if (gpu) gpu.free += units;
  };
  return {
    selectors: new Set(selectors.values()),
    within: ({ selects }: Reach): readonly KeyedGpu[] => gpus.filter(({ nodes }) => selects.has(nodes)),
    apply({ victims, taken }: Choice): void {
      for (const { shares } of victims) for (const [key, units] of shares) add(key, units);
      for (const [key, units] of taken) add(key, -units);
    },
  };
}
