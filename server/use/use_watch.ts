import { memoryOfUnits } from "../../pool/units.ts";
import type { Logger } from "../../program/log/log.ts";
import type { ServerGpu } from "../gpus/gpu.ts";
import type { GpuProcesses } from "../gpus/gpu_source.ts";
import type { Lease, Ledger } from "../leases/ledger.ts";
import { type GpuUse, usesOfLeases } from "./lease_use.ts";
import { isLasting, type MemoryReading, nextOveruse, type Overuse } from "./overuse.ts";

export interface UseWatchOptions {
  ledger: Pick<Ledger, "leases">;
  /** The server's GPUs now. */
  gpus: () => readonly ServerGpu[];
  /** Returns the id of the lease that a process belongs to. */
  leaseOf: (pid: number) => string | undefined;
  /** How much memory a lease may use of each of its GPUs beyond its share, in MB. */
  toleranceMb: number;
  /** Called at each reading with the time that a lease has used GPUs since the last one, in GPU seconds. */
  onUse: (lease: Lease, gpuSeconds: number) => void;
  /** Ends the process of a lease. The reason is one sentence for its user. */
  end: (lease: Lease, reason: string) => void;
  log: Logger;
}

/** Follows what leases use of GPUs, and ends the processes of those that keep more memory than their share. */
export interface UseWatch {
  /** Takes a reading of the GPUs. */
  read(gpus: readonly GpuProcesses[], now?: number): void;
  /** What a lease used of its GPUs in the last reading. Empty while that is not known. */
  usesOf(leaseId: string): readonly GpuUse[];
}

export function createUseWatch({ ledger, gpus, leaseOf, toleranceMb, onUse, end, log }: UseWatchOptions): UseWatch {
  let uses: ReadonlyMap<string, readonly GpuUse[]> = new Map();
  let overuse: readonly Overuse[] = [];
  let readAt: number | undefined;
  const silent = new Set<string>();

  function readingsOf({ id, gpus: shares }: Lease): MemoryReading[] {
    return (uses.get(id) ?? []).map(({ gpuId, memoryMb }) => {
      const share = shareMb(shares, gpuId);
      // a GPU that it does not have, it must not use at all
      return { leaseId: id, gpuId, usedMb: memoryMb, allowedMb: share === 0 ? 0 : share + toleranceMb };
    });
  }
  function shareMb(shares: Lease["gpus"], gpuId: string): number {
    const units = shares.find((share) => share.gpuId === gpuId)?.units ?? 0;
    return memoryOfUnits(units, gpus().find(({ id }) => id === gpuId)?.memoryMb ?? 0);
  }
  function warn(readings: readonly GpuProcesses[]): void {
    for (const { gpuId, processes } of readings) {
      if (processes) silent.delete(gpuId);
      else if (!silent.has(gpuId)) {
        silent.add(gpuId);
        log.warn("The GPU does not tell its processes: shares of its memory are not enforced", { gpu: gpuId });
      }
    }
  }

  function tellUse(leases: readonly Lease[], now: number): void {
    const elapsed = (now - (readAt ?? now)) / 1000;
    readAt = now;
    for (const lease of leases) {
      for (const { utilization = 0 } of uses.get(lease.id) ?? []) onUse(lease, (utilization / 100) * elapsed);
    }
  }

  return {
    read(readings, now = performance.now()) {
      warn(readings);
      const leases = ledger.leases();
      uses = usesOfLeases(leases, readings, leaseOf);
      tellUse(leases, now);
      overuse = nextOveruse(overuse, leases.flatMap(readingsOf), now);
      const lasting = overuse.filter((each) => isLasting(each, now));
      overuse = overuse.filter((each) => lasting.every(({ leaseId }) => leaseId !== each.leaseId));
      for (const lease of leases) {
        const first = lasting.find(({ leaseId }) => leaseId === lease.id);
        if (!first) continue;
        const { gpuId, usedMb, since } = first;
        const seconds = Math.round((now - since) / 1000);
        const share = shareMb(lease.gpus, gpuId);
        end(lease, `The process used ${usedMb} MB of ${gpuId} for ${seconds} s: the lease has ${share} MB`);
      }
    },
    usesOf: (leaseId) => uses.get(leaseId) ?? [],
  };
}
