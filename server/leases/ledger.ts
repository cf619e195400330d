import type { Gpu } from "../../pool/inventory.ts";
import type { ClaimAllocation, GpuShare, LeaseOwner } from "../../pool/lease.ts";
import type { Share } from "../../pool/share.ts";
import { UNITS_PER_GPU, unitsPerGpu } from "../../pool/units.ts";

/** The client that holds a lease. */
export interface Holder {
  /** Its name in the configuration. */
  readonly client: string;
  /** Whether a pod took the lease itself, with the identity that all pods of the client can read. */
  readonly isPod: boolean;
}

export interface Lease {
  readonly id: string;
  readonly holder: Holder;
  /** Proves the lease: only its holder and the server know it. */
  readonly secret: string;
  readonly owner: LeaseOwner;
  /** What the cluster took the lease for. Undefined if a pod took it itself. */
  readonly resourceClaim?: ClaimAllocation | undefined;
  readonly gpus: readonly GpuShare[];
  /** In ms of the ledger's clock. */
  readonly grantedAt: number;
  /** In ms of the ledger's clock. */
  readonly expiresAt: number;
  /** {@link LeaseClaim.request} of its claim. */
  readonly request?: string | undefined;
}

export interface LeaseClaim {
  readonly holder: Holder;
  readonly owner: LeaseOwner;
  readonly resourceClaim?: ClaimAllocation | undefined;
  /** On `share.gpus` different GPUs. */
  readonly share: Share;
  /** The most units that all leases of the holder may have together. Undefined: all that there are. */
  readonly maxUnits?: number | undefined;
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
  /** Time until a lease of this holder that is not renewed expires, in ms. */
  timeToLive: (holder: Holder) => number;
  /** The current time in ms, of a clock that only runs forward: a step of the system's clock must not end leases. */
  now?: () => number;
  newId: () => string;
  newSecret: () => string;
  /** Called when a lease was granted or has ended. */
  onChange?: () => void;
  /** Called before `onChange` when a lease has ended. */
  onEnded?: (lease: Lease) => void;
}

/** The leases on one server's GPUs. Together they never hold more than 100 percent of a GPU. */
export interface Ledger {
  /** The current time, in ms of the ledger's clock. */
  now(): number;
  /** Time until a lease of this holder that is not renewed expires, in ms. */
  timeToLive(holder: Holder): number;
  /** Claims the share of the requested number of GPUs that match, or nothing. The ledger chooses them. */
  claim(claim: LeaseClaim): ClaimResult;
  /** Takes over a lease that an earlier run has granted. Its time to live starts again. */
  restore(lease: Omit<Lease, "expiresAt">): void;
  /** Restarts the time to live of a lease. Returns undefined if the lease does not exist. */
  renew(id: string): Lease | undefined;
  /** Ends a lease and returns it. Returns undefined if the lease does not exist. */
  release(id: string): Lease | undefined;
  /** Ends the leases that were not renewed in time, and returns them. */
  expire(): Lease[];
  /** Ends the leases that match, and returns them. */
  end(matches: (lease: Lease) => boolean): Lease[];
  get(id: string): Lease | undefined;
  /** Aborted when the lease ends. Undefined if it does not exist. */
  untilEnded(id: string): AbortSignal | undefined;
  leases(): Lease[];
}

/** Creates a ledger without leases. Expired leases count until `expire` is called. */
export function createLedger({
  gpus,
  timeToLive,
  now = () => performance.now(),
  newId,
  newSecret,
  onChange = () => {},
  onEnded = () => {},
}: LedgerOptions): Ledger {
  const leases = new Map<string, Lease>();
  const ends = new Map<string, AbortController>();

  function renew(id: string): Lease | undefined {
    const lease = leases.get(id);
    if (!lease) return undefined;
    const renewed = { ...lease, expiresAt: now() + timeToLive(lease.holder) };
    leases.set(id, renewed);
    return renewed;
  }
  /** The lease that an earlier claim with this request was granted. */
  function leaseOf(request: string | undefined): Lease | undefined {
    return request === undefined ? undefined : leases.values().find((lease) => lease.request === request);
  }
  function add(lease: Omit<Lease, "expiresAt">): Lease {
    const added = { ...lease, expiresAt: now() + timeToLive(lease.holder) };
    leases.set(lease.id, added);
    ends.set(lease.id, new AbortController());
    return added;
  }
  function remove(id: string): Lease | undefined {
    const lease = leases.get(id);
    if (!lease) return undefined;
    leases.delete(id);
    ends.get(id)?.abort();
    ends.delete(id);
    onEnded(lease);
    onChange();
    return lease;
  }
  function end(matches: (lease: Lease) => boolean): Lease[] {
    const ended = [...leases.values()].filter(matches);
    for (const { id } of ended) remove(id);
    return ended;
  }
  function unitsOf({ client, isPod }: Holder): number {
    return [...leases.values()]
      .filter(({ holder }) => holder.client === client && holder.isPod === isPod)
      .flatMap(({ gpus }) => gpus)
      .reduce((sum, { units }) => sum + units, 0);
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
    timeToLive,
    claim({ holder, owner, resourceClaim, share, maxUnits = Number.POSITIVE_INFINITY, matches = () => true, request }) {
      const earlier = renew(leaseOf(request)?.id ?? "");
      if (earlier) return { lease: earlier, repeated: true };
      const capable = gpus()
        .filter((gpu) => gpu.healthy && matches(gpu))
        .map((gpu) => ({ gpu, units: unitsPerGpu(share, gpu.memoryMb), free: freeUnits(gpu) }))
        .filter(({ units }) => units <= UNITS_PER_GPU);
      // best fit: keeps complete GPUs free
      const bestFit = capable.filter(({ units, free }) => units <= free).sort((a, b) => a.free - b.free);
      const available = withinLimit(bestFit, maxUnits - unitsOf(holder));
      if (available.length < share.gpus) {
        return { availableGpus: available.length, capableGpus: withinLimit(capable, maxUnits).length };
      }
      const lease = add({
        id: newId(),
        holder,
        secret: newSecret(),
        owner,
        resourceClaim,
        gpus: available.slice(0, share.gpus).map(({ gpu, units }) => ({ gpuId: gpu.id, units })),
        grantedAt: now(),
        request,
      });
      onChange();
      return { lease, repeated: false };
    },
    restore: (lease) => void add(lease),
    renew,
    release: remove,
    expire: () => end(({ expiresAt }) => expiresAt <= now()),
    end,
    get: (id) => leases.get(id),
    untilEnded: (id) => ends.get(id)?.signal,
    leases: () => [...leases.values()],
  };
}

/** The first candidates that have at most `limit` units together. */
function withinLimit<T extends { units: number }>(candidates: readonly T[], limit: number): readonly T[] {
  let sum = 0;
  return candidates.filter(({ units }) => {
    sum += units;
    return sum <= limit;
  });
}
