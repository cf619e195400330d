/** A value that changes: each reader sees the newest, none sees a change twice, and slow readers skip what is already old. */
export interface Latest<T> {
  readonly current: T | undefined;
  set(value: T): void;
  /** The current value at once, if there is one, then each newer one, until the signal is aborted. */
  changes(signal: AbortSignal): AsyncIterable<T>;
}

export function createLatest<T extends {}>(initial?: T): Latest<T> {
  let current = initial;
  let changed = Promise.withResolvers<void>();
  return {
    get current() {
      return current;
    },
    set(value) {
      current = value;
      changed.resolve();
      changed = Promise.withResolvers();
    },
    async *changes(signal) {
      const aborted = Promise.withResolvers<void>();
      const abort = () => aborted.resolve();
      signal.addEventListener("abort", abort, { once: true });
      try {
        let seen: T | undefined;
        while (!signal.aborted) {
          const next = changed.promise;
          if (current !== undefined && current !== seen) {
            seen = current;
            yield current;
            continue;
          }
          await Promise.race([next, aborted.promise]);
        }
      } finally {
        signal.removeEventListener("abort", abort);
      }
    },
  };
}
