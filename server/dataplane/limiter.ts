import { memoryOfUnits } from "../../pool/units.ts";
import type { ServerGpu } from "../gpus/gpu.ts";
import type { Launch } from "./sandbox/launch.ts";

/** A library that is loaded into the processes of leases and refuses what is beyond their share. */
export interface Limiter {
  /** An absolute path. */
  readonly library: string;
  readonly limits: (typeof LIMITS)[number];
}

/** What a limiter can limit: values of a GPU's attribute `isolation`. */
export const LIMITS = ["memory", "memory-and-compute"] as const;

/** A GPU of a lease, and its share of it in percent. */
export interface GpuOfLease {
  readonly gpu: Pick<ServerGpu, "memoryMb">;
  readonly units: number;
}

/**
 * Loads a limiter into a process. The variables are those of HAMi-core (github.com/Project-HAMi/HAMi-core), which numbers GPUs as CUDA does: in
 * the order of CUDA_VISIBLE_DEVICES.
 *
 * Only the process itself loads it, not the programs that isolate it, which are root.
 */
export function limit(
  { command, environment }: Launch,
  { library, limits }: Limiter,
  gpus: readonly GpuOfLease[],
  leaseFolder: string,
): Launch {
  const limitsOf = ({ gpu: { memoryMb }, units }: GpuOfLease, index: number): Record<string, string> => ({
    [`CUDA_DEVICE_MEMORY_LIMIT_${index}`]: String(memoryOfUnits(units, memoryMb) * 1_000_000),
    ...(limits === "memory-and-compute" ? { [`CUDA_DEVICE_SM_LIMIT_${index}`]: String(units) } : {}),
  });
  return {
    command: ["env", `LD_PRELOAD=${library}`, ...command],
    environment: Object.assign({}, environment, ...gpus.map(limitsOf), {
      // what all processes of the lease use together
      CUDA_DEVICE_MEMORY_SHARED_CACHE: `${leaseFolder}/limiter.cache`,
      // where it looks for itself
      CUDA_REDIRECT: library,
    }),
  };
}

/** Whether a variable is one that {@link limit} sets. */
export function isLimiterVariable(name: string): boolean {
  return /^(LD_PRELOAD|CUDA_REDIRECT|CUDA_DEVICE_(MEMORY_LIMIT|SM_LIMIT|MEMORY_SHARED_CACHE).*)$/.test(name);
}
