/** The most leases that one call renews. */
export const MAX_RENEWALS = 1024;

/** The holder of a lease: a container, or a command outside Kubernetes. */
export interface LeaseOwner {
  readonly namespace: string;
  readonly pod: string;
  readonly container: string;
}

/** The allocation of a ResourceClaim that a cluster takes a lease for. */
export interface ClaimAllocation {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  /** The node whose driver takes the lease. */
  readonly node: string;
  /** The ids of the shares that the lease holds. The scheduler chooses new ones whenever it allocates the claim. */
  readonly shareIds: readonly string[];
}

/** The units of a GPU that a lease holds. */
export interface GpuShare {
  readonly gpuId: string;
  /** Percent of the GPU, 1 to 100. */
  readonly units: number;
}
