/** The holder of a lease: a container, or a command outside Kubernetes. */
export interface LeaseOwner {
  readonly namespace: string;
  readonly pod: string;
  readonly container: string;
}

/** The units of a GPU that a lease holds. */
export interface GpuShare {
  readonly gpuId: string;
  /** Percent of the GPU, 1 to 100. */
  readonly units: number;
}
