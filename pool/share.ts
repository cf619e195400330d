/**
 * What a container requests from the pool: a number of different GPUs, and a percentage or the memory of each of them.
 * The number of GPUs and the memory are from 1 to {@link MAX_AMOUNT}.
 */
export type Share =
  | { readonly gpus: number /** Percent of each GPU, 1 to 100. */; readonly percent: number }
  | { readonly gpus: number /** Memory of each GPU, in MB (1,000,000 bytes). */; readonly memoryMb: number };

/** The largest number of GPUs, and of MB, in a share: nine digits, so that products with units are exact in floating point. */
export const MAX_AMOUNT = 999_999_999;

/** Formats a percentage for the client's option -p, as the shortest decimal fraction: `0.5`, `1`, `0.07`. */
export function percentToFraction(percent: number): string {
  return String(percent / 100);
}

/** Formats a share in a short form that names of objects may contain: `2x75`, `1x8000mb`. */
export function formatShare(share: Share): string {
  return `${share.gpus}x${"percent" in share ? share.percent : `${share.memoryMb}mb`}`;
}

/**
 * Parses the output of {@link formatShare}. Returns undefined for any other text: tenants can write the annotations and
 * names that contain it.
 */
export function parseShare(text: string): Share | undefined {
  const [, count, percent, memory] = /^([1-9]\d{0,8})x(?:(100|[1-9]\d?)|([1-9]\d{0,8})mb)$/.exec(text) ?? [];
  if (count === undefined) return undefined;
  const gpus = Number(count);
  return percent === undefined ? { gpus, memoryMb: Number(memory) } : { gpus, percent: Number(percent) };
}

/** Describes a share in a message: `75 % of each of 2 different GPUs`. */
export function describeShare(share: Share): string {
  const amount = "percent" in share ? `${share.percent} %` : `${share.memoryMb} MB`;
  return share.gpus === 1 ? `${amount} of one GPU` : `${amount} of each of ${share.gpus} different GPUs`;
}
