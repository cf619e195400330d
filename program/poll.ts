import { setTimeout as sleep } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";
import { type Backoff, createBackoff } from "./backoff.ts";
import { ConfigError } from "./config_error.ts";

export interface PollOptions {
  /** Time between two reads, in ms. */
  period: number;
  /**
   * Called when a read fails; repeated failures with the same message are reported once. The last valid value stays in
   * use.
   */
  onFailure: (error: unknown) => void;
  /** Delays between reads until the first succeeds. */
  backoff?: Backoff;
}

/**
 * Reads a value and yields it, then reads it again every `period` and yields each change. Use it for files that the
 * kubelet mounts: no file watch reports their changes reliably. The first read is retried with backoff until it
 * succeeds. Ends with the signal.
 *
 * @throws {ConfigError} if the first read throws one: retries do not fix invalid input.
 */
export async function* poll<T>(
  read: () => Promise<T>,
  { period, onFailure, backoff = createBackoff({ max: period }) }: PollOptions,
  signal: AbortSignal,
): AsyncGenerator<T> {
  let last: { value: T } | undefined;
  let reported: string | undefined;
  while (!signal.aborted) {
    try {
      const value = await read();
      reported = undefined;
      const changed = !last || !isDeepStrictEqual(value, last.value);
      last = { value };
      if (changed) yield value;
    } catch (error) {
      if (signal.aborted) return;
      if (!last && error instanceof ConfigError) throw error;
      const message = String(error);
      if (message !== reported) onFailure(error);
      reported = message;
    }
    const wait = last ? sleep(period, undefined, { signal }) : backoff.wait(signal);
    await wait.catch(() => {}); // rejects only when aborted
  }
}
