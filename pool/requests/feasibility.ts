import type { DeviceAttributes } from "../attributes.ts";
import { createMatcher } from "../filter.ts";
import { UNITS_PER_GPU } from "../units.ts";
import { type GpuRequest, groupForRequest, hasEnoughMemory, needsOneServer } from "./gpu_request.ts";

/** A GPU with room for requests. */
export interface FreeGpu {
  readonly attributes: DeviceAttributes;
  /** Units that nobody holds. */
  readonly free: number;
}

/** Whether requests fit. `maybe`: the search was given up, because it would take too long. */
export type Fit = "yes" | "no" | "maybe";

/** The work after which the search is given up: about 6 ms. One unit is a step of an inner loop. */
const MAX_WORK = 100_000;

/** The most GPUs that all requests together may count. It bounds the depth of the search. */
const MAX_SLOTS = 4096;

/** The most different requests: one bit of an integer each. */
const MAX_KINDS = 30;

/** GPUs have 0 to 100 free units. */
const LEVELS = UNITS_PER_GPU + 1;

/**
 * Whether the GPUs have room for all requests at the same time. Each request needs different GPUs; requests may share a GPU. It is a
 * form of bin packing, so the search is exhaustive up to a limit. GPUs that are equal for all requests are one class, large requests are placed
 * first, and a state that failed is not tried again. If a request needs GPUs of one server, a class has GPUs of one server only.
 */
export function canHold(gpus: readonly FreeGpu[], requests: readonly GpuRequest[], { maxWork = MAX_WORK } = {}): Fit {
  const kinds = new Map<string, Kind>();
  const items = requests.map((request): Item => {
    const units = Math.max(1, Math.ceil(request.units));
    const key = JSON.stringify([units, request.share, request.filters, needsOneServer(request)]);
    const kind = kinds.get(key) ?? { bit: 1 << kinds.size, units, request };
    kinds.set(key, kind);
    return { ...kind, count: request.count, oneServer: needsOneServer(request) };
  });
  if (kinds.size > MAX_KINDS) return requests.some((request) => canHold(gpus, [request]) === "no") ? "no" : "maybe";

  const mostServers = items.reduce((sum, { count, oneServer }) => sum + (oneServer ? 1 : count), 0);
  const classes = groupGpus(gpus, [...kinds.values()], mostServers);
  const largestFirst = items.sort((a, b) => b.units - a.units || b.count - a.count);
  if (isHopeless(classes.counts, classes, largestFirst, 0)) return "no";
  if (items.length < 2) return "yes";
  if (items.reduce((slots, { count }) => slots + count, 0) > MAX_SLOTS) return "maybe";
  return search(largestFirst, classes, maxWork);
}

interface Kind {
  /** The bit of the kind in the mask of a GPU that suits it. */
  readonly bit: number;
  readonly units: number;
  readonly request: GpuRequest;
}

interface Item {
  readonly bit: number;
  readonly units: number;
  /** Number of different GPUs. */
  readonly count: number;
  /** Whether they must be of one server. */
  readonly oneServer: boolean;
}

/** The GPUs by what distinguishes them. */
interface Classes {
  /** Which kinds of requests the GPUs suit: one mask for {@link LEVELS} entries of `counts`. */
  readonly masks: readonly number[];
  /** The classes of each server, in order. All are of one server if no request needs GPUs of one. */
  readonly servers: readonly (readonly number[])[];
  /** Number of GPUs by class and free units. */
  readonly counts: Uint32Array;
}

/** @param mostServers that all requests together can use. More equal servers make no difference. */
function groupGpus(gpus: readonly FreeGpu[], kinds: readonly Kind[], mostServers: number): Classes {
  const countByMask = createMaskCounter(kinds);
  const grouping = kinds.find(({ request }) => needsOneServer(request))?.request;
  const equalServers = new Map<string, number>();
  const masks: number[] = [];
  const servers: number[][] = [];
  const levels: Uint32Array[] = [];
  for (const server of grouping ? groupForRequest(grouping, gpus) : [gpus]) {
    const byMask = countByMask(server);
    const key = [...byMask].map(([mask, counts]) => `${mask} ${describe(counts)}`).join();
    const equal = equalServers.get(key) ?? 0;
    if (byMask.size === 0 || equal >= mostServers) continue;
    equalServers.set(key, equal + 1);
    servers.push([...byMask.keys()].map((_, index) => masks.length + index));
    masks.push(...byMask.keys());
    levels.push(...byMask.values());
  }
  const counts = new Uint32Array(masks.length * LEVELS);
  for (const [index, each] of levels.entries()) counts.set(each, index * LEVELS);
  return { masks, servers, counts };
}

/** Creates a function that counts GPUs by free units, for each mask of kinds that they suit, in the order of the masks. */
function createMaskCounter(kinds: readonly Kind[]): (gpus: readonly FreeGpu[]) => Map<number, Uint32Array> {
  const smallest = Math.min(...kinds.map(({ units }) => units));
  const masksByMemory = new Map<number | undefined, number>();
  const filters = [...Map.groupBy(kinds, ({ request }) => JSON.stringify(request.filters)).values()].map((sharing) => ({
    bits: maskOf(sharing),
    matches: createMatcher(sharing[0]?.request.filters ?? []),
  }));
  function maskOfGpu(attributes: DeviceAttributes): number {
    const { memoryMb } = attributes;
    let mask = masksByMemory.get(memoryMb);
    if (mask === undefined) {
      mask = maskOf(kinds.filter(({ request }) => hasEnoughMemory(request, memoryMb)));
      masksByMemory.set(memoryMb, mask);
    }
    for (const { bits, matches } of filters) if (mask & bits && !matches(attributes)) mask &= ~bits;
    return mask;
  }
  return (gpus) => {
    const levelsByMask = new Map<number, Uint32Array>();
    for (const { attributes, free } of gpus) {
      const mask = free < smallest ? 0 : maskOfGpu(attributes);
      if (mask === 0) continue;
      const levels = levelsByMask.get(mask) ?? new Uint32Array(LEVELS);
      levelsByMask.set(mask, levels);
      const level = Math.min(Math.floor(free), UNITS_PER_GPU);
      levels[level] = (levels[level] ?? 0) + 1;
    }
    return new Map([...levelsByMask].sort(([a], [b]) => a - b));
  };
}

function maskOf(kinds: readonly Kind[]): number {
  return kinds.reduce((mask, { bit }) => mask | bit, 0);
}

function search(items: readonly Item[], classes: Classes, maxWork: number): Fit {
  const { masks, counts } = classes;
  const everywhere = [[...masks.keys()]];
  let work = items.length * counts.length;
  if (work > maxWork) return "maybe";
  const usable = usableUnits(items, masks);
  const failed = new Set<string>();

  /** Whether the items from this index on fit into these GPUs. */
  function place(index: number, gpus: Uint32Array): boolean {
    const item = items[index];
    const usableNow = usable[index];
    if (!item || !usableNow) return true;
    work += gpus.length + items.length * masks.length;
    if (work > maxWork) return false;
    const state = withoutWaste(gpus, usableNow);
    if (isHopeless(state, classes, items, index)) return false;
    const key = `${index} ${describe(state)}`;
    if (failed.has(key)) return false;
    for (const choice of item.oneServer ? differentServers(state, classes) : everywhere) {
      const fitting: number[] = [];
      for (const each of choice) {
        if (!((masks[each] ?? 0) & item.bit)) continue;
        for (let level = item.units; level < LEVELS; level++) {
          if (state[each * LEVELS + level]) fitting.push(each * LEVELS + level);
        }
      }
      fitting.sort((a, b) => (a % LEVELS) - (b % LEVELS)); // the fullest GPUs first
      if (distribute(index, { state, next: state.slice(), fitting, position: 0, missing: item.count })) return true;
    }
    failed.add(key);
    return false;
  }

  /** Chooses the GPUs of an item, and places the next ones. `next` is the state with the GPUs that are chosen so far. */
  function distribute(index: number, choice: Choice): boolean {
    const { state, next, fitting, position, missing } = choice;
    if (missing === 0) return place(index + 1, next);
    const units = items[index]?.units ?? 0;
    let left = 0;
    work += fitting.length;
    for (let each = position; each < fitting.length; each++) left += state[fitting[each] ?? 0] ?? 0;
    for (let each = position; each < fitting.length && left >= missing; each++) {
      const from = fitting[each] ?? 0;
      const available = state[from] ?? 0;
      left -= available;
      for (let taken = Math.min(available, missing); taken > 0; taken--) {
        if (work > maxWork) return false;
        move(next, from, from - units, taken);
        const rest = { state, next, fitting, position: each + 1, missing: missing - taken };
        if (distribute(index, rest)) return true;
        move(next, from - units, from, taken);
      }
    }
    return false;
  }

  if (place(0, counts)) return "yes";
  return work > maxWork ? "maybe" : "no";
}

interface Choice {
  readonly state: Uint32Array;
  readonly next: Uint32Array;
  /** Indices of the classes with GPUs that have room. */
  readonly fitting: readonly number[];
  /** The first of these that is not decided yet. */
  readonly position: number;
  /** Number of GPUs that must still be chosen. */
  readonly missing: number;
}

function move(counts: Uint32Array, from: number, to: number, gpus: number): void {
  counts[from] = (counts[from] ?? 0) - gpus;
  counts[to] = (counts[to] ?? 0) + gpus;
}

/** For each item, what it and the later ones can use at most of a GPU, by mask and free units: the largest sum of some of them. */
function usableUnits(items: readonly Item[], masks: readonly number[]): Uint8Array[] {
  const sums = new Uint8Array(masks.length * LEVELS);
  for (const mask of masks.keys()) sums[mask * LEVELS] = 1;
  const result: Uint8Array[] = [];
  for (const { bit, units } of items.toReversed()) {
    for (const [mask, bits] of masks.entries()) {
      if (!(bits & bit)) continue;
      for (let level = UNITS_PER_GPU; level >= units; level--) {
        if (sums[mask * LEVELS + level - units]) sums[mask * LEVELS + level] = 1;
      }
    }
    const usable = new Uint8Array(sums.length);
    let sum = 0;
    for (let index = 0; index < sums.length; index++) {
      const level = index % LEVELS;
      if (sums[index]) sum = level;
      usable[index] = sum;
    }
    result.unshift(usable);
  }
  return result;
}

/** The same GPUs with the units only that requests can use. */
function withoutWaste(gpus: Uint32Array, usable: Uint8Array): Uint32Array {
  const result = new Uint32Array(gpus.length);
  for (let index = 0; index < gpus.length; index++) {
    const count = gpus[index];
    const level = usable[index];
    if (!count || !level) continue;
    const reduced = index - (index % LEVELS) + level;
    result[reduced] = (result[reduced] ?? 0) + count;
  }
  return result;
}

/** Whether one of the items from this index on does not fit even alone, or all of them together need more units than there are. */
function isHopeless(gpus: Uint32Array, { masks, servers }: Classes, items: readonly Item[], index: number): boolean {
  /** Number of GPUs that have this many free units or more. */
  const atLeast = gpus.slice();
  let units = 0;
  for (let each = gpus.length - 1; each >= 0; each--) {
    const level = each % LEVELS;
    units += (gpus[each] ?? 0) * level;
    if (level < UNITS_PER_GPU) atLeast[each] = (atLeast[each] ?? 0) + (atLeast[each + 1] ?? 0);
  }
  for (const item of items.slice(index)) {
    units -= item.units * item.count;
    let fitting = 0;
    for (const server of servers) {
      if (item.oneServer && fitting < item.count) fitting = 0;
      for (const each of server) {
        const suits = (masks[each] ?? 0) & item.bit;
        if (suits) fitting += atLeast[each * LEVELS + Math.min(item.units, UNITS_PER_GPU)] ?? 0;
      }
    }
    if (item.units > UNITS_PER_GPU || fitting < item.count) return true;
  }
  return units < 0;
}

/** The classes of each server, without servers that are equal to another one. */
function differentServers(state: Uint32Array, { masks, servers }: Classes): readonly (readonly number[])[] {
  const different = new Map<string, readonly number[]>();
  for (const server of servers) {
    const parts = server.map(
      (each) => `${masks[each]} ${describe(state.subarray(each * LEVELS, (each + 1) * LEVELS))}`,
    );
    const key = parts.join();
    if (!different.has(key)) different.set(key, server);
  }
  return [...different.values()];
}

/** The state, or a part of it, in a form that can be compared: the classes with GPUs. */
function describe(state: Uint32Array): string {
  let text = "";
  for (const [index, count] of state.entries()) if (count > 0) text += `${index}:${count} `;
  return text;
}
