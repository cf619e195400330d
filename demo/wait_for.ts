import { setTimeout as sleep } from "node:timers/promises";

/** Time between two reads, in ms. */
const PERIOD = 25;

/** Far longer than anything takes, also on a busy machine, in ms. */
const TIMEOUT = 30_000;

/**
 * Reads until a read returns a value, and returns it.
 *
 * @param what names what is waited for, in the error.
 * @throws {Error} after 30 s, or when a read throws.
 * @throws the signal's reason when the signal is aborted.
 */
export async function waitFor<T extends {}>(
  what: string,
  read: () => T | undefined | Promise<T | undefined>,
  signal: AbortSignal,
): Promise<T> {
  const deadline = performance.now() + TIMEOUT;
  for (;;) {
    const value = await read();
    if (value !== undefined) return value;
    if (performance.now() > deadline) throw new Error(`Waited ${TIMEOUT / 1000} s for ${what}`);
    await sleep(PERIOD, undefined, { signal }).catch(() => signal.throwIfAborted());
  }
}
