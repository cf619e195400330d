/** What a container asks of the pool: this much of each of so many different GPUs. */
export type Share =
  | { readonly gpus: number /** 1 to 100. */; readonly percent: number }
  | { readonly gpus: number /** In MB (1,000,000 bytes), of each GPU. */; readonly memoryMb: number };

/**
 * The units of a share, 1 unit being 1 % of one GPU: what Kubernetes counts.
 * Exact in integers: a float would make 8 of 1120 MB of 16000 (7).
 *
 * @param gpuMemoryMb the memory of one GPU in MB; used by shares of memory only.
 */
export function unitsOf(share: Share, gpuMemoryMb: number): number {
  if ("percent" in share) return share.gpus * share.percent;
  return ceilDivide(share.memoryMb * share.gpus * 100, gpuMemoryMb);
}

/** The percent of one GPU that a share takes: what a pool server reserves on each of them. */
export function percentOfGpu(share: Share, gpuMemoryMb: number): number {
  return "percent" in share ? share.percent : ceilDivide(share.memoryMb * 100, gpuMemoryMb);
}

/** A percentage as the client takes it: the shortest decimal fraction, such as 0.5, 1 or 0.07. */
export function percentToFraction(percent: number): string {
  return String(percent / 100);
}

function ceilDivide(dividend: number, divisor: number): number {
  return Number((BigInt(dividend) + BigInt(divisor) - 1n) / BigInt(divisor));
}
