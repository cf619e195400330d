/** The longest time that a timer can wait, in ms: 24.8 days. setTimeout() fires immediately for a longer time. */
export const MAX_TIMEOUT = 2 ** 31 - 1;

/** Returns 75 to 100 % of a time, at random: many nodes that have started at the same moment do not call at the same moment for long. */
export function jitter(ms: number, random: () => number = Math.random): number {
  return ms * (0.75 + random() / 4);
}

/** Returns a time in ms that timers can wait: at least 0, at most {@link MAX_TIMEOUT}. */
export function clampTimeout(ms: number): number {
  return Math.min(Math.max(0, ms), MAX_TIMEOUT);
}
