import type { FreeGpu } from "../../../pool/requests/feasibility.ts";
import { createSuitability, type GpuRequest, groupForRequest } from "../../../pool/requests/gpu_request.ts";
import type { HolderIndex } from "./holder_index.ts";
import { compareRanks, compareVictims, type Holder, type Rank, rankVictims } from "./rank.ts";

/** What a pod asks for. */
export interface Demand {
  readonly priority: number;
  /** All at the same time. */
  readonly requests: readonly GpuRequest[];
}

/** A GPU, and the units of it that nobody holds. */
export interface KeyedGpu extends FreeGpu {
  readonly key: string;
}

/** Where requests can be placed when the victims have released their units. */
export interface Places {
  readonly victims: ReadonlySet<Holder>;
  /** Units by the keys of GPUs. */
  readonly taken: ReadonlyMap<string, number>;
}

/**
 * Places requests one after another, the largest first: each on the GPUs with the best victims of lower priority by compareVictims(), and of one server
 * if it asks for that. Undefined if a request finds no place; another order of the requests may find one.
 */
export function findPlaces(
  { priority, requests }: Demand,
  gpus: readonly KeyedGpu[],
  holders: HolderIndex,
): Places | undefined {
  const byKey = new Map(gpus.map((gpu) => [gpu.key, gpu]));
  let places: Places = { victims: new Set(), taken: new Map() };
  for (const request of requests.toSorted((a, b) => b.units - a.units || b.count - a.count)) {
    const suits = createSuitability(request);
    const suitable = gpus.filter(({ attributes }) => suits(attributes));
    let best: Places | undefined;
    for (const group of groupForRequest(request, suitable)) {
      const next = place(request, group, places);
      if (next && (!best || compareVictims(next.victims, best.victims) < 0)) best = next;
    }
    if (!best) return undefined;
    places = best;
  }
  return places;

  /** Adds the units of a request on GPUs of the group, and the victims for that. */
  function place({ count, units }: GpuRequest, group: readonly KeyedGpu[], before: Places): Places | undefined {
    if (group.length < count) return undefined;
    const places = { victims: new Set(before.victims), taken: new Map(before.taken) };
    const open = new Set(group);
    const candidates = new Map<KeyedGpu, Candidate | undefined>();
    for (let missing = count; missing > 0; missing--) {
      let best: Candidate | undefined;
      for (const gpu of open) {
        if (!candidates.has(gpu)) candidates.set(gpu, candidate(gpu, units, places));
        const next = candidates.get(gpu);
        if (next && (!best || isBetter(next, best, missing, open))) best = next;
      }
      if (!best) return undefined;
      open.delete(best.gpu);
      places.taken.set(best.gpu.key, (places.taken.get(best.gpu.key) ?? 0) + units);
      for (const victim of best.victims) {
        places.victims.add(victim);
        for (const key of victim.shares.keys()) {
          const gpu = byKey.get(key);
          if (gpu) candidates.delete(gpu);
        }
      }
    }
    return places;
  }

  /**
   * Compares as compareVictims() does. But before the time of the start, it prefers victims that release more of the GPUs that the request can
   * still use.
   */
  function isBetter(a: Candidate, b: Candidate, missing: number, open: ReadonlySet<KeyedGpu>): boolean {
    const byPriority = compareRanks({ ...a.rank, start: 0 }, { ...b.rank, start: 0 });
    if (byPriority !== 0) return byPriority < 0;
    const difference = missing > 1 && (a.isShared || b.isShared) ? coverage(b, open) - coverage(a, open) : 0;
    return difference === 0 ? a.rank.start > b.rank.start : difference < 0;
  }

  function coverage({ victims }: Candidate, open: ReadonlySet<KeyedGpu>): number {
    const gpus = new Set(victims.flatMap(({ shares }) => [...shares.keys()].flatMap((key) => byKey.get(key) ?? [])));
    return gpus.intersection(open).size;
  }

  /** What it takes to place units on a GPU. Undefined if its holders cannot make room. */
  function candidate(gpu: KeyedGpu, units: number, { victims, taken }: Places): Candidate | undefined {
    let free = gpu.free - (taken.get(gpu.key) ?? 0);
    const others: Holder[] = [];
    for (const holder of holders.on(gpu.key)) {
      if (victims.has(holder)) free += holder.shares.get(gpu.key) ?? 0;
      else if (holder.priority < priority) others.push(holder);
    }
    const further = victimsFor(units - free, gpu.key, others);
    return further && { gpu, victims: further, rank: rankVictims(further), isShared: further.some(isShared) };
  }
}

/** A GPU that a request could get, and the victims for that. */
interface Candidate {
  readonly gpu: KeyedGpu;
  readonly victims: readonly Holder[];
  readonly rank: Rank;
  /** Whether a victim holds further GPUs. */
  readonly isShared: boolean;
}

function isShared({ shares }: Holder): boolean {
  return shares.size > 1;
}

/**
 * The best victims on one GPU that release at least these units there: of the lowest priorities that suffice the fewest, of these the
 * least important. Undefined if all together release less.
 *
 * @param holders the most important first
 */
function victimsFor(units: number, key: string, holders: readonly Holder[]): readonly Holder[] | undefined {
  if (units <= 0) return [];
  const unitsOf = ({ shares }: Holder) => shares.get(key) ?? 0;
  let candidates: Holder[] = []; // the least important first
  let sum = 0;
  for (const holder of holders.toReversed()) {
    if (sum >= units && holder.priority > (candidates.at(-1)?.priority ?? holder.priority)) break;
    candidates.push(holder);
    sum += unitsOf(holder);
  }
  if (sum < units) return undefined;
  const victims: Holder[] = [];
  for (let missing = units; missing > 0; ) {
    const largest = candidates.map(unitsOf).sort((a, b) => b - a);
    let count = 0;
    for (let left = missing; left > 0; count++) left -= largest[count] ?? 0;
    /** The most that the others of as many victims can release. */
    const others = largest.slice(0, count - 1).reduce((total, each) => total + each, 0);
    const victim = candidates.find((holder) => unitsOf(holder) + others >= missing);
    if (!victim) return undefined;
    victims.push(victim);
    missing -= unitsOf(victim);
    candidates = candidates.filter((holder) => holder !== victim);
  }
  return victims;
}
