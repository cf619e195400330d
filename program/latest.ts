/**
 * A value that changes. Each reader gets the newest value, and each value at most once. A slow reader skips outdated
 * values.
 */
export interface Latest<T> {
  readonly current: T | undefined;
  set(value: T): void;
  /** Yields the current value if it is set, then each newer value. Ends with the signal. */
  changes(signal: AbortSignal): AsyncIterable<T>;
}

/** Creates a value that is `initial`, or not set yet. */
export function createLatest<T extends {}>(initial?: T): Latest<T> {
  let current = initial;
  let changed = Promise.withResolvers<void>();
  const notify = () => {
    changed.resolve();
    changed = Promise.withResolvers();
  };
  return {
    get current() {
      return current;
    },
    set(value) {
      current = value;
      notify();
    },
    async *changes(signal) {
      signal.addEventListener("abort", notify, { once: true });
      try {
        let last: T | undefined;
        while (!signal.aborted) {
          const next = changed.promise;
          if (current !== undefined && current !== last) {
            last = current;
            yield current;
          } else {
            await next;
          }
        }
      } finally {
        signal.removeEventListener("abort", notify);
      }
    },
  };
}
