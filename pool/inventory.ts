import { UNITS_PER_GPU } from "./units.ts";

/** The pool at one moment, as far as it is known here. */
export interface Inventory {
  readonly servers: readonly PoolServer[];
}

export interface PoolServer {
  /** host:port. */
  readonly address: string;
  /** Whether it answers now, as seen from here. */
  readonly reachable: boolean;
  /** What it last told; absent for a server that has never told, such as one that does not speak `bitfusion.pool.v1`. */
  readonly gpus?: readonly Gpu[];
  /** What it last told of itself; there if `gpus` is. */
  readonly facts?: ServerFacts;
}

/** What a server tells of itself, beside its GPUs. */
export interface ServerFacts {
  /** Its own name for itself; the same after any restart. */
  readonly hostname: string;
  readonly hasRdma: boolean;
  /** Empty if it does not say. */
  readonly cudaVersion: string;
  /** Empty if it does not say. */
  readonly driverVersion: string;
}

export interface Gpu {
  /** Unique in the pool, and the same after any restart. */
  readonly id: string;
  /** Product name, such as "Tesla T4". */
  readonly model: string;
  /** Whole memory, in MB (1,000,000 bytes). */
  readonly memoryMb: number;
  readonly healthy: boolean;
}

/**
 * Where an inventory comes from: the first as soon as each server has answered or failed to, then the whole again at each
 * change. Ends only with the signal.
 */
export type InventorySource = (signal: AbortSignal) => AsyncIterable<Inventory>;

/** What one server is found to be, as often as it changes. Ends only with the signal. */
export type ServerSource = (address: string, signal: AbortSignal) => AsyncIterable<PoolServer>;

/** Units of the whole pool, reachable now or not; undefined while a server has never told what it has. */
export function totalUnits({ servers }: Inventory): number | undefined {
  let units = 0;
  for (const { gpus } of servers) {
    if (!gpus) return undefined;
    units += gpus.length * UNITS_PER_GPU;
  }
  return units;
}
