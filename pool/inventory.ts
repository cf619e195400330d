import type { NodeLabels } from "./servers/server_entry.ts";

/** The observed state of the pool at one time. */
export interface Inventory {
  readonly servers: readonly PoolServer[];
}

export interface PoolServer {
  /** host:port. */
  readonly address: string;
  /** Only nodes with these labels reach the server. Absent: all nodes do. */
  readonly nodes?: NodeLabels;
  /** Whether the server answers this program. One that accepts connections and is silent does not. */
  readonly reachable: boolean;
  /**
   * Set if the pool's token is for another protocol than `bitfusion.pool.v1`, as that of Bitfusion's own servers is: the
   * server has GPUs, but does not report them.
   */
  readonly foreign?: true;
  /**
   * The last reported GPUs. Undefined if the server never reported: it is foreign, or was not reachable yet.
   */
  readonly gpus?: readonly Gpu[];
  /** The last reported facts. Set if and only if `gpus` is set. */
  readonly facts?: ServerFacts;
}

/** What a server reports besides its GPUs. */
export interface ServerFacts {
  /** The server's name for itself. Stable across restarts. */
  readonly hostname: string;
  readonly hasRdma: boolean;
  /** Empty if the server does not report it. */
  readonly cudaVersion: string;
  /** Empty if the server does not report it. */
  readonly driverVersion: string;
  /** Absent if the server forwards no calls. */
  readonly dataPlane?: DataPlane;
}

/** What forwards the GPU calls of a client to a server. It works only if both have the same. */
export interface DataPlane {
  /** Which program and protocol it is, such as "lupine". */
  readonly name: string;
  readonly build: string;
}

export interface Gpu {
  /** Unique in the pool, and stable across restarts. */
  readonly id: string;
  /** Product name, such as "Tesla T4". */
  readonly model: string;
  /** Total memory, in MB (1,000,000 bytes). */
  readonly memoryMb: number;
  readonly healthy: boolean;
  /**
   * Why it is not healthy, as the value of a label, such as "xid-79". {@link DRAINING} if nothing is wrong with it. Absent if it is
   * healthy, or if nobody knows.
   */
  readonly problem?: string;
  /** What keeps the leases of the GPU apart: see `Gpu.isolation` in pool.proto. Absent if the server does not report it. */
  readonly isolation?: string;
}

/** The problem of a GPU whose server is drained before it stops. */
export const DRAINING = "draining";

/**
 * Yields the inventory when the state of every server is known, and again at each change. Each one is complete. Ends
 * with the signal.
 */
export type InventorySource = (signal: AbortSignal) => AsyncIterable<Inventory>;

/** A server as it is observed. */
export interface ObservedServer extends PoolServer {
  /** Set if a server that is reachable has just failed: it may be restarting, or be unreachable soon. */
  readonly failing?: true;
}

/** Yields the state of one server, and again when it changes. Ends with the signal. */
export type ServerSource = (address: string, signal: AbortSignal) => AsyncIterable<ObservedServer>;
