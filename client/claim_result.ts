import type { ServerLease } from "./server_lease.ts";

/** The result of a claim on a pool. */
export type PoolClaimResult =
  | { readonly leases: readonly ServerLease[] }
  /** The pool may satisfy the claim later. Why not now: too few available GPUs, unreachable servers. */
  | { readonly wait: string }
  /** All servers have responded, and the pool can never satisfy the claim. */
  | { readonly impossible: string };
