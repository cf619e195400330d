import type { PreparedClaim } from "../files/prepared_claim.ts";
import type { HeldLease } from "../leases/held_lease.ts";
import type { GpuHealth } from "../leases/leases.ts";

/** What the driver knows of a lease that it holds. Times are in ms since the epoch. */
export interface LeaseHealth {
  /** When the driver took the lease, or tried to renew it. */
  readonly checkedAt: number;
  /** When the lease was granted or renewed. Undefined: not since the driver started. */
  readonly renewedAt?: number | undefined;
  /** Why the last attempt to renew it failed. Undefined if it did not. */
  readonly failure?: string | undefined;
  /** What its server told about its GPUs at that time. It does not tell of one that it has no more. */
  readonly gpus: readonly GpuHealth[];
}

/** What the driver knows of the leases of a prepared claim. */
export interface ClaimHealth {
  readonly claim: PreparedClaim;
  /** By the id of the lease. */
  readonly leases: ReadonlyMap<string, LeaseHealth>;
}

/** What the driver knows of all claims that it has prepared, by uid. */
export type NodeHealth = ReadonlyMap<string, ClaimHealth>;

/** That of a lease that was granted just now: servers grant none on GPUs that are not healthy. */
export function grantedHealth({ gpuIds }: Pick<HeldLease, "gpuIds">, now = Date.now()): LeaseHealth {
  return { checkedAt: now, renewedAt: now, gpus: gpuIds.map((id) => ({ id, healthy: true })) };
}

/** That of a lease that was renewed just now. */
export function renewedHealth(gpus: readonly GpuHealth[], now = Date.now()): LeaseHealth {
  return { checkedAt: now, renewedAt: now, gpus };
}

/** That of a lease that could not be renewed. */
export function failedHealth(failure: string, before: LeaseHealth | undefined, now = Date.now()): LeaseHealth {
  return { gpus: [], ...before, checkedAt: now, failure };
}
