import type { Gpu } from "../../pool/inventory.ts";

/** A GPU of this server. */
export interface ServerGpu extends Gpu {
  /** From 0. It stays the same when other GPUs of the server fail. The configuration names simulated GPUs by it. */
  readonly number: number;
  /** Set for a MIG device: which part of its card it is. */
  readonly instance?: { readonly gpuInstance: number; readonly computeInstance: number };
}
