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

/** A share in few letters, as names have it: `2x75`, `1x8000mb`. */
export function shareText(share: Share): string {
  return `${share.gpus}x${"percent" in share ? share.percent : `${share.memoryMb}mb`}`;
}

/** The share of a {@link shareText}; undefined for another text. */
export function parseShareText(text: string): Share | undefined {
  const [, count, percent, memory] = /^(\d+)x(?:(\d+)|(\d+)mb)$/.exec(text) ?? [];
  if (count === undefined) return undefined;
  const gpus = Number(count);
  return percent === undefined ? { gpus, memoryMb: Number(memory) } : { gpus, percent: Number(percent) };
}

/** A share in words: `75 % of each of 2 different GPUs`. */
export function describeShare(share: Share): string {
  const amount = "percent" in share ? `${share.percent} %` : `${share.memoryMb} MB`;
  return share.gpus === 1 ? `${amount} of one GPU` : `${amount} of each of ${share.gpus} different GPUs`;
}

function ceilDivide(dividend: number, divisor: number): number {
  return Number((BigInt(dividend) + BigInt(divisor) - 1n) / BigInt(divisor));
}
