import type { ServerGpu } from "./gpus/gpu.ts";

/** What keeps the leases of a GPU apart: the values of `Gpu.isolation` in pool.proto. */
export type Isolation = "none" | "memory" | "memory-and-compute" | "mig";

export function isolationOf({ instance }: Pick<ServerGpu, "instance">): Isolation {
  return instance ? "mig" : "none";
}
