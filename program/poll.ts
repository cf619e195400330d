import { setTimeout as sleep } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";
import { ConfigError } from "./config_error.ts";

export interface FollowOptions {
  /** How often to read, in ms. */
  period: number;
  /** Told once of each change that cannot be used; the last good value stays in force. */
  onBroken: (error: ConfigError) => void;
}

/**
 * What `read` gives, then each that takes its place: for files that a kubelet mounts, whose changes no watch tells reliably. Ends with
 * the signal.
 *
 * @throws {ConfigError} at first, when `read` does.
 */
export async function* follow<T>(
  read: () => Promise<T>,
  { period, onBroken }: FollowOptions,
  signal: AbortSignal,
): AsyncGenerator<T> {
  let last = await read();
  yield last;
  let complaint: string | undefined;
  for (;;) {
    await sleep(period, undefined, { signal }).catch(() => {}); // only the signal ends it early
    if (signal.aborted) return;
    try {
      const next = await read();
      complaint = undefined;
      if (isDeepStrictEqual(next, last)) continue;
      last = next;
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      if (error.message !== complaint) onBroken(error);
      complaint = error.message;
      continue;
    }
    yield last;
  }
}
