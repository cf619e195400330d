/** What was measured of the path to a pool server. */
export interface Path {
  /** The last round trips, in ms, the newest first. */
  readonly times: readonly number[];
  readonly isSlow: boolean;
}

/** The number of measurements of which the median counts: two outliers among them decide nothing. */
const WINDOW = 5;

/** A path that was slow stays so until its round trip is below this part of the limit: one that is close to the limit does not go back and forth. */
const RECOVERED = 0.75;

/**
 * Adds a measurement. A path is slow if the median of the last five is above the limit.
 *
 * @param time a round trip, in ms.
 * @param limit in ms. 0: no path is slow.
 */
export function addRoundTrip(path: Path | undefined, time: number, limit: number): Path {
  const times = [time, ...(path?.times ?? [])].slice(0, WINDOW);
  const bound = path?.isSlow ? limit * RECOVERED : limit;
  return { times, isSlow: limit > 0 && times.length === WINDOW && medianOf({ times }) > bound };
}

/** The median of the last round trips, in ms. */
export function medianOf({ times }: Pick<Path, "times">): number {
  return times.toSorted((a, b) => a - b)[Math.floor(times.length / 2)] ?? Number.NaN;
}
