/** A value that changes: each reader sees the newest, none sees a change twice, and slow readers skip what is already old. */
export interface Latest<T> {
  readonly current: T | undefined;
  set(value: T): void;
  /** The current value at once, if there is one, then each newer one, until the signal is aborted. */
  changes(signal: AbortSignal): AsyncIterable<T>;
}

export function createLatest<T extends {}>(initial?: T): Latest<T> {
  let current = initial;
  let woken = Promise.withResolvers<void>();
  const wake = () => {
    woken.resolve();
    woken = Promise.withResolvers();
  };
  return {
    get current() {
      return current;
    },
    set(value) {
      current = value;
      wake();
    },
    async *changes(signal) {
      signal.addEventListener("abort", wake, { once: true });
      try {
        let seen: T | undefined;
        while (!signal.aborted) {
          const next = woken.promise;
          if (current !== undefined && current !== seen) {
            seen = current;
            yield current;
          } else {
            await next;
          }
        }
      } finally {
        signal.removeEventListener("abort", wake);
      }
    },
  };
}
