import type { Gpu } from "../../pool/inventory.ts";
import type { GpuShare, LeaseOwner } from "../../pool/lease.ts";
import type { Share } from "../../pool/share.ts";
import { UNITS_PER_GPU, unitsPerGpu } from "../../pool/units.ts";

export interface Lease {
  readonly id: string;
  readonly owner: LeaseOwner;
  readonly gpus: readonly GpuShare[];
  /** In ms of the ledger's clock. */
  readonly grantedAt: number;
  /** In ms of the ledger's clock. */
  readonly expiresAt: number;
  /** {@link LeaseClaim.request} of its claim. */
  readonly request?: string | undefined;
}

export interface LeaseClaim {
  readonly owner: LeaseOwner;
  /** On `share.gpus` different GPUs. */
  readonly share: Share;
  /** Undefined: any GPU. */
  readonly matches?: (gpu: Gpu) => boolean;
  /** Identifies the claim. A repeat returns the same lease. Undefined: the claim is a new one. */
  readonly request?: string | undefined;
}

/**
 * The result of a claim. If it is refused: `availableGpus` can hold the share now, `capableGpus` could if no client
 * held any.
 */
export type ClaimResult =
  | { readonly lease: Lease /** Whether an earlier claim was granted the lease. */; readonly repeated: boolean }
  | { readonly availableGpus: number; readonly capableGpus: number };

export interface LedgerOptions {
  /** The server's GPUs now. */
  gpus: () => readonly Gpu[];
  /** Time until a lease that is not renewed expires, in ms. */
  timeToLive: number;
  /** The current time in ms, of a clock that only runs forward: a step of the system's clock must not end leases. */
  now?: () => number;
  newId: () => string;
}

/** The leases on one server's GPUs. Together they never hold more than 100 percent of a GPU. */
export interface Ledger {
  /** The current time, in ms of the ledger's clock. */
  now(): number;
  /** Claims the share of the requested number of GPUs that match, or nothing. The ledger chooses them. */
  claim(claim: LeaseClaim): ClaimResult;
  /** Restarts the time to live of a lease. Returns undefined if the lease does not exist. */
  renew(id: string): Lease | undefined;
  /** Ends a lease and returns it. Returns undefined if the lease does not exist. */
  release(id: string): Lease | undefined;
  /** Ends the leases that were not renewed in time, and returns them. */
  expire(): Lease[];
  leases(): Lease[];
}

/** Creates a ledger without leases. Expired leases count until `expire` is called. */
export function createLedger({ gpus, timeToLive, now = () => performance.now(), newId }: LedgerOptions): Ledger {
  const leases = new Map<string, Lease>();

  function renew(id: string): Lease | undefined {
    const lease = leases.get(id);
    if (!lease) return undefined;
    const renewed = { ...lease, expiresAt: now() + timeToLive };
    leases.set(id, renewed);
    return renewed;
  }
  /** The lease that an earlier claim with this request was granted. */
  function leaseOf(request: string | undefined): Lease | undefined {
    return request === undefined ? undefined : leases.values().find((lease) => lease.request === request);
  }
  function freeUnits(gpu: Gpu): number {
    let free = UNITS_PER_GPU;
    for (const lease of leases.values()) {
      for (const { gpuId, units } of lease.gpus) if (gpuId === gpu.id) free -= units;
    }
    return free;
  }

  return {
    now,
    claim({ owner, share, matches = () => true, request }) {
      const earlier = renew(leaseOf(request)?.id ?? "");
      if (earlier) return { lease: earlier, repeated: true };
      const capable = gpus()
        .filter((gpu) => gpu.healthy && matches(gpu))
        .map((gpu) => ({ gpu, units: unitsPerGpu(share, gpu.memoryMb), free: freeUnits(gpu) }))
        .filter(({ units }) => units <= UNITS_PER_GPU);
      // best fit: keeps complete GPUs free
      const available = capable.filter(({ units, free }) => units <= free).sort((a, b) => a.free - b.free);
      if (available.length < share.gpus) return { availableGpus: available.length, capableGpus: capable.length };
      const grantedAt = now();
      const lease: Lease = {
        id: newId(),
        owner,
        gpus: available.slice(0, share.gpus).map(({ gpu, units }) => ({ gpuId: gpu.id, units })),
        grantedAt,
        expiresAt: grantedAt + timeToLive,
        request,
      };
      leases.set(lease.id, lease);
      return { lease, repeated: false };
    },
    renew,
    release(id) {
      const lease = leases.get(id);
      leases.delete(id);
      return lease;
    },
    expire() {
      const ended = [...leases.values()].filter(({ expiresAt }) => expiresAt <= now());
      for (const { id } of ended) leases.delete(id);
      return ended;
    },
    leases: () => [...leases.values()],
  };
}
