import { setTimeout as sleep } from "node:timers/promises";

export interface BackoffOptions {
  /** First delay, in ms. */
  initial?: number;
  /** Longest delay, in ms. */
  max?: number;
  /** Returns a number from 0 (inclusive) to 1. Jitter spreads the retries of many nodes. */
  random?: () => number;
}

export interface Backoff {
  /** Waits for 50 to 100 % of the current delay, then doubles the delay. Rejects when the signal is aborted. */
  wait(signal: AbortSignal): Promise<void>;
  /** Resets the delay to `initial`. */
  reset(): void;
}

/** Creates an exponential backoff with jitter. */
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
