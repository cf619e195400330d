import pLimit from "p-limit";

/** Limits how many pieces of work of the same kind begin at once. */
export interface Turns {
  /** Waits for a turn, or until the signal is aborted. Disposal ends the turn. */
  take(signal: AbortSignal): Promise<Disposable>;
}

export interface TurnsOptions {
  /** The most turns at the same time. */
  readonly count: number;
  /** When a turn ends by itself, in ms: whoever hangs does not hold up the others. */
  readonly longest: number;
}

export function createTurns({ count, longest }: TurnsOptions): Turns {
  const limit = pLimit(count);
  return {
    async take(signal) {
      const begun = Promise.withResolvers<void>();
      const ended = Promise.withResolvers<void>();
      const end = () => {
        signal.removeEventListener("abort", end);
        begun.resolve();
        ended.resolve();
      };
      signal.addEventListener("abort", end, { once: true });
      if (signal.aborted) end();
      void limit(async () => {
        begun.resolve();
        const timer = setTimeout(end, longest);
        await ended.promise;
        clearTimeout(timer);
      });
      await begun.promise;
      return { [Symbol.dispose]: end };
    },
  };
}
