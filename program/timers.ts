/** The longest time that a timer can wait, in ms: 24.8 days. setTimeout() fires immediately for a longer time. */
export const MAX_TIMEOUT = 2 ** 31 - 1;

/** Returns a time in ms that timers can wait: at least 0, at most {@link MAX_TIMEOUT}. */
export function clampTimeout(ms: number): number {
  return Math.min(Math.max(0, ms), MAX_TIMEOUT);
}
