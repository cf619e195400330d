import type { GpuShare } from "../pool/lease.ts";

/** GPUs that the client may use. */
export interface Holding {
  readonly gpus: readonly GpuShare[];
  /** Where the GPUs are reached: host:port for each lease, in the order of the GPUs. Empty if the servers forward no calls. */
  readonly gateAddresses: readonly string[];
  /**
   * Watches over the GPUs until the signal is aborted.
   *
   * @throws {LeaseLostError} when a lease has ended, and early enough before it will.
   */
  keep(signal: AbortSignal): Promise<void>;
  /** Gives the GPUs back. Returns the failures. */
  release(): Promise<readonly string[]>;
}
