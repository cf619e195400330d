import { setTimeout as sleep } from "node:timers/promises";

export interface BackoffOptions {
  /** First wait, in ms. */
  initial?: number;
  /** Longest wait, in ms. */
  max?: number;
  /** From 0 (inclusive) to 1; spreads the waits of many nodes. */
  random?: () => number;
}

export interface Backoff {
  /** Waits between half of the current time and all of it, and doubles it. Rejects when the signal is aborted. */
  wait(signal: AbortSignal): Promise<void>;
  /** The next wait is the first again. */
  reset(): void;
}

/** Exponential backoff with jitter. */
export function createBackoff({ initial = 100, max = 10_000, random = Math.random }: BackoffOptions = {}): Backoff {
  let current = initial;
  return {
    async wait(signal) {
      const time = current * (0.5 + random() / 2);
      current = Math.min(current * 2, max);
      await sleep(time, undefined, { signal });
    },
    reset() {
      current = initial;
    },
  };
}
