import type { ServerLease } from "./server_claim.ts";

/** The answer of a pool of servers to a claim. */
export type PoolClaimResult =
  | { readonly leases: readonly ServerLease[] }
  /** The pool may satisfy the claim later. The reason says which servers are full or unreachable. */
  | { readonly wait: string }
  /** All servers have answered, and the pool can never satisfy the claim. */
  | { readonly impossible: string };
