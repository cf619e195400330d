import { compareImportance, type Holder } from "./rank.ts";

/** Holders by the GPUs that they hold. */
export interface HolderIndex {
  /** The holders of a GPU, the most important first. */
  on(gpu: string): readonly Holder[];
  remove(holders: readonly Holder[]): void;
}

export function createHolderIndex(holders: readonly Holder[]): HolderIndex {
  const byGpu = new Map<string, Holder[]>();
  for (const holder of holders) {
    for (const gpu of holder.shares.keys()) {
      const list = byGpu.get(gpu);
      if (list) list.push(holder);
      else byGpu.set(gpu, [holder]);
    }
  }
  for (const list of byGpu.values()) list.sort(compareImportance);
  return {
    on: (gpu) => byGpu.get(gpu) ?? [],
    remove(removed) {
      for (const gpu of new Set(removed.flatMap(({ shares }) => [...shares.keys()]))) {
        const rest = byGpu.get(gpu)?.filter((holder) => !removed.includes(holder));
        if (rest) byGpu.set(gpu, rest);
      }
    },
  };
}
