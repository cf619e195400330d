import { canHold } from "../../../pool/requests/feasibility.ts";
import { createSuitability, type GpuRequest } from "../../../pool/requests/gpu_request.ts";
import { createHolderIndex, type HolderIndex } from "./holder_index.ts";
import { type Demand, findPlaces, type KeyedGpu } from "./places.ts";
import { compareImportance, type Holder } from "./rank.ts";

const NOBODY = createHolderIndex([]);

export interface Choice {
  /** Empty if the pod fits without an eviction. */
  readonly victims: readonly Holder[];
  /** The units that the pod will presumably get, by GPU. */
  readonly taken: ReadonlyMap<string, number>;
}

/**
 * Chooses the pods whose eviction makes room for a pod. They are of lower priority, without any one of them there is no room, and of the
 * ways to make room that {@link findPlaces} compares, this is the best by the order of compareVictims(). Like kube-scheduler, it does not compare
 * all combinations.
 *
 * @returns undefined if evictions cannot make room, and if it takes too long to find out.
 */
export function chooseVictims(
  { priority, requests }: Demand,
  gpus: readonly KeyedGpu[],
  holders: HolderIndex,
): Choice | undefined {
  const suits = requests.map(createSuitability);
  const suitable = gpus.filter(({ attributes }) => suits.some((each) => each(attributes)));
  const now = canHold(suitable, requests);
  if (now === "maybe") return undefined;
  if (now === "yes") return complete(requests, suitable, []);

  const lower = suitable.map(({ key }) => holders.on(key).filter((holder) => holder.priority < priority));
  const cleared = suitable.map(({ key, attributes, free }, index) => {
    return { attributes, free: (lower[index] ?? []).reduce((sum, { shares }) => sum + (shares.get(key) ?? 0), free) };
  });
  if (canHold(cleared, requests) !== "yes") return undefined;
  const hasRoom = (victims: Iterable<Holder>) => canHold(withUnits(suitable, releasedBy(victims)), requests) === "yes";
  const found = findPlaces({ priority, requests }, suitable, holders)?.victims;
  const enough = found && hasRoom(found) ? found : new Set(lower.flat());
  return complete(requests, suitable, spare([...enough].sort(compareImportance), hasRoom));
}

/** A choice with what the pod will get. Where that takes too long to find out, it is all that the victims release: nobody else counts on it. */
function complete(requests: readonly GpuRequest[], gpus: readonly KeyedGpu[], victims: readonly Holder[]): Choice {
  const released = releasedBy(victims);
  const least = Math.min(...requests.map(({ units }) => units));
  const usable = withUnits(gpus, released).filter(({ free }) => free >= least);
  const places = findPlaces({ priority: 0, requests }, usable, NOBODY);
  return { victims, taken: places?.taken ?? released };
}

function releasedBy(holders: Iterable<Holder>): Map<string, number> {
  const released = new Map<string, number>();
  for (const { shares } of holders) {
    for (const [key, units] of shares) released.set(key, (released.get(key) ?? 0) + units);
  }
  return released;
}

/** GPUs as they are with these units released. */
function withUnits(gpus: readonly KeyedGpu[], released: ReadonlyMap<string, number>): readonly KeyedGpu[] {
  if (released.size === 0) return gpus;
  return gpus.map(({ key, attributes, free }) => ({ key, attributes, free: free + (released.get(key) ?? 0) }));
}

/** Spares as many of the victims as possible, the first ones before the others. Each of the rest is needed. */
function spare(victims: readonly Holder[], hasRoom: (victims: readonly Holder[]) => boolean): readonly Holder[] {
  let rest = victims;
  let position = 0; // the victims before it are needed
  let size = 1;
  while (position < rest.length) {
    const without = rest.toSpliced(position, size);
    if (hasRoom(without)) {
      rest = without;
      size *= 2; // of many victims, most are spared
    } else if (size > 1) {
      size = Math.floor(size / 2);
    } else {
      position++;
    }
  }
  return rest;
}
