export function median(values: readonly number[]): number {
  return percentile(values, 0.5);
}

/** Returns the value at this fraction (0 to 1) of the sorted list; NaN for an empty list. */
export function percentile(values: readonly number[], fraction: number): number {
  return values.toSorted((a, b) => a - b)[Math.floor((values.length - 1) * fraction)] ?? Number.NaN;
}
