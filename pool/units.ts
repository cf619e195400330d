import type { Share } from "./share.ts";

/** Units of one GPU: a unit of `bitfusion.io/gpu` is one percent of one GPU. */
export const UNITS_PER_GPU = 100;

/**
 * Returns the total units of a share on all its GPUs, as quotas count them. Each GPU gives whole units, so a memory share
 * is rounded up for each GPU.
 *
 * @param gpuMemoryMb memory of one GPU in MB. Only memory shares need it.
 */
export function unitsOf(share: Share, gpuMemoryMb: number | undefined): number {
  return share.gpus * unitsPerGpu(share, gpuMemoryMb);
}

/**
 * Returns the units of a share on each of its GPUs: a whole number, or infinity for a memory share on a GPU whose
 * memory is unknown or 0, since no number of its units is enough. The arithmetic is exact: products stay below 2^53.
 *
 * @param gpuMemoryMb memory of that GPU in MB. Only memory shares need it.
 */
export function unitsPerGpu(share: Share, gpuMemoryMb: number | undefined): number {
  if ("percent" in share) return share.percent;
  const isKnown = gpuMemoryMb !== undefined && gpuMemoryMb > 0 && Number.isFinite(gpuMemoryMb);
  if (!isKnown) return Number.POSITIVE_INFINITY;
  return Math.ceil((share.memoryMb * UNITS_PER_GPU) / gpuMemoryMb);
}

/** The memory that units of a GPU are, in whole MB. */
export function memoryOfUnits(units: number, gpuMemoryMb: number): number {
  return Math.floor((gpuMemoryMb * units) / UNITS_PER_GPU);
}
