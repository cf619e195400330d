export function median(values: readonly number[]): number {
  return percentile(values, 0.5);
}

/** The value below which this fraction of all lies; NaN of none. */
export function percentile(values: readonly number[], fraction: number): number {
  return values.toSorted((a, b) => a - b)[Math.floor((values.length - 1) * fraction)] ?? Number.NaN;
}
