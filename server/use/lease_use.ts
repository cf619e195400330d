import type { GpuShare } from "../../pool/lease.ts";
import type { GpuProcess, GpuProcesses } from "../gpus/gpu_source.ts";

/** What a lease uses of a GPU. */
export interface GpuUse {
  readonly gpuId: string;
  /** In MB, with what the driver keeps for each process. */
  readonly memoryMb: number;
  /** Percent of the time in which it has used the GPU. Absent if the GPU does not tell it. */
  readonly utilization?: number;
}

interface LeaseOfUse {
  readonly id: string;
  readonly gpus: readonly GpuShare[];
}

/**
 * Returns what each lease uses of its GPUs, and of others if it does. GPUs that do not tell their processes are left out.
 *
 * @param leaseOf returns the id of the lease that a process belongs to
 */
export function usesOfLeases(
  leases: readonly LeaseOfUse[],
  gpus: readonly GpuProcesses[],
  leaseOf: (pid: number) => string | undefined,
): ReadonlyMap<string, readonly GpuUse[]> {
  const known = gpus.flatMap(({ gpuId, processes }) => {
    return processes ? [{ gpuId, perLease: Map.groupBy(processes, ({ pid }) => leaseOf(pid)) }] : [];
  });
  const usesOf = ({ id, gpus }: LeaseOfUse) =>
    known.flatMap(({ gpuId, perLease }) => {
      const processes = perLease.get(id);
      if (!processes && gpus.every((gpu) => gpu.gpuId !== gpuId)) return [];
      return [{ gpuId, ...sum(processes ?? []) }];
    });
  return new Map(leases.map((lease) => [lease.id, usesOf(lease)]));
}

function sum(processes: readonly GpuProcess[]): Omit<GpuUse, "gpuId"> {
  const memoryMb = processes.reduce((sum, process) => sum + process.memoryMb, 0);
  const utilization = processes.reduce((sum, { utilization = Number.NaN }) => sum + utilization, 0);
  return { memoryMb, ...(Number.isNaN(utilization) ? {} : { utilization: Math.min(100, utilization) }) };
}
