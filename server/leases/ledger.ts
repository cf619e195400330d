import type { Gpu } from "../../pool/inventory.ts";
import type { GpuShare, Owner } from "../../pool/lease.ts";
import type { Share } from "../../pool/share.ts";
import { UNITS_PER_GPU, unitsPerGpu } from "../../pool/units.ts";

export interface Lease {
  readonly id: string;
  readonly owner: Owner;
  readonly gpus: readonly GpuShare[];
  /** ms since the epoch. */
  readonly grantedAt: number;
  readonly expiresAt: number;
}

/** What a claim gets: a lease, or how many GPUs could give the share now, and how many if nobody held any. */
export type ClaimResult = { readonly lease: Lease } | { readonly availableGpus: number; readonly capableGpus: number };

export interface LedgerOptions {
  gpus: readonly Gpu[];
  /** How long a lease lives that nobody renews, in ms. */
  timeToLive: number;
  /** ms since the epoch. */
  now: () => number;
  newId: () => string;
}

/** Who holds which part of one server's GPUs; never more than 100 percent of one. */
export interface Ledger {
  /** Takes the share of `share.gpus` different GPUs among those that `matches` accepts, or nothing. Which, if more would do, is its own choice. */
  claim(owner: Owner, share: Share, matches: (gpu: Gpu) => boolean): ClaimResult;
  renew(id: string): Lease | undefined;
  release(id: string): Lease | undefined;
  /** Ends the leases whose time has passed. */
  expire(): Lease[];
  leases(): Lease[];
}

export function createLedger({ gpus, timeToLive, now, newId }: LedgerOptions): Ledger {
  const leases = new Map<string, Lease>();

  function freeUnits(gpu: Gpu): number {
    let free = UNITS_PER_GPU;
    for (const lease of leases.values()) {
      for (const { gpuId, units } of lease.gpus) if (gpuId === gpu.id) free -= units;
    }
    return free;
  }

  return {
    claim(owner, share, matches) {
      const capable = gpus
        .filter((gpu) => gpu.healthy && matches(gpu))
        .map((gpu) => ({ gpu, units: unitsPerGpu(share, gpu.memoryMb), free: freeUnits(gpu) }))
        .filter(({ units }) => units <= UNITS_PER_GPU);
      const available = capable.filter(({ units, free }) => units <= free).sort((a, b) => a.free - b.free); // the fullest that fits: whole GPUs stay whole
      if (available.length < share.gpus) return { availableGpus: available.length, capableGpus: capable.length };
      const grantedAt = now();
      const lease: Lease = {
        id: newId(),
        owner,
        gpus: available.slice(0, share.gpus).map(({ gpu, units }) => ({ gpuId: gpu.id, units })),
        grantedAt,
        expiresAt: grantedAt + timeToLive,
      };
      leases.set(lease.id, lease);
      return { lease };
    },
    renew(id) {
      const lease = leases.get(id);
      if (!lease) return undefined;
      const renewed = { ...lease, expiresAt: now() + timeToLive };
      leases.set(id, renewed);
      return renewed;
    },
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
