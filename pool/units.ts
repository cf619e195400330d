import type { Share } from "./share.ts";

/** Units of one GPU: a unit of `bitfusion.io/gpu` is one percent of one GPU. */
export const UNITS_PER_GPU = 100;

/**
 * Returns the total units of a share on all its GPUs. The arithmetic is exact: in floating point, 1120 MB of 16000 MB
 * would be 8 units instead of 7.
 *
 * @param gpuMemoryMb memory of one GPU in MB, at least 1. Only memory shares need it.
 */
export function unitsOf(share: Share, gpuMemoryMb: number): number {
  if ("percent" in share) return share.gpus * share.percent;
  return ceilDivide(share.memoryMb * share.gpus * UNITS_PER_GPU, gpuMemoryMb);
}

/**
 * Returns the units of a share on each of its GPUs.
 *
 * @param gpuMemoryMb memory of that GPU in MB, at least 1. Only memory shares need it.
 */
export function unitsPerGpu(share: Share, gpuMemoryMb: number): number {
  return "percent" in share ? share.percent : ceilDivide(share.memoryMb * UNITS_PER_GPU, gpuMemoryMb);
}

function ceilDivide(dividend: number, divisor: number): number {
  return Number((BigInt(dividend) + BigInt(divisor) - 1n) / BigInt(divisor));
}
