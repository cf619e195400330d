import { clampTimeout } from "./timers.ts";

/**
 * A value that changes. Each reader gets the newest value, and each value at most once. A slow reader skips outdated
 * values.
 */
export interface Latest<T> {
  readonly current: T | undefined;
  set(value: T): void;
  /**
   * Yields the current value if it is set, then each newer value. Yields the value again if `repeatAfter` ms pass
   * without a newer one. Ends with the signal.
   */
  changes(signal: AbortSignal, repeatAfter?: number): AsyncIterable<T>;
}

/** Creates a value that is `initial`, or not set yet. */
export function createLatest<T extends {}>(initial?: T): Latest<T> {
  let current = initial;
  const readers = new Set<() => void>();
  return {
    get current() {
      return current;
    },
    set(value) {
      if (value === current) return;
      current = value;
      for (const wake of readers) wake();
    },
    async *changes(signal, repeatAfter) {
      let woken = Promise.withResolvers<void>();
      const wake = () => woken.resolve();
      readers.add(wake);
      signal.addEventListener("abort", wake, { once: true });
      try {
        let last: T | undefined;
        while (!signal.aborted) {
          woken = Promise.withResolvers();
          if (current !== undefined && current !== last) {
            last = current;
            yield current;
            continue;
          }
          const repeat = () => {
            last = undefined;
            wake();
          };
          const timer = repeatAfter === undefined ? undefined : setTimeout(repeat, clampTimeout(repeatAfter));
          await woken.promise;
          clearTimeout(timer);
        }
      } finally {
        readers.delete(wake);
        signal.removeEventListener("abort", wake);
      }
    },
  };
}
