import type { Gpu } from "../../pool/inventory.ts";

/** A GPU of this server. */
export interface ServerGpu extends Gpu {
  /** Its number in the configuration, from 0. It stays the same when other GPUs of the server fail. */
  readonly number: number;
}
