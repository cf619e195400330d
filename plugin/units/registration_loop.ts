import type { Counter } from "prom-client";
import type { Backoff } from "../../program/backoff.ts";
import { type Logger, messageOf } from "../../program/log/log.ts";
import { DirectoryDeletedError } from "../file_watch.ts";

export interface RegistrationLoopOptions {
  log: Logger;
  /** Counts the attempts that throw. */
  registrations: Counter<"result">;
  backoff: Backoff;
  /** Resolves when waiting longer has no point, for example because a new kubelet started. Rejects when its signal is aborted. */
  untilWorthwhile?: (signal: AbortSignal) => Promise<void>;
  signal: AbortSignal;
}

/**
 * Registers with the kubelet, and again with backoff whenever a registration ends. Returns when the signal is aborted.
 *
 * @param attempt registers and returns why the registration ended, or throws
 * @throws {DirectoryDeletedError} if an attempt does: no further attempt can succeed.
 */
export async function keepRegistered(attempt: () => Promise<string>, options: RegistrationLoopOptions): Promise<void> {
  const { log, registrations, signal } = options;
  let logged: string | undefined;
  while (!signal.aborted) {
    try {
      const reason = await attempt();
      log.info("Registering again", { reason });
      logged = undefined;
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof DirectoryDeletedError) throw error;
      registrations.inc({ result: "failed" });
      const reason = messageOf(error);
      if (reason !== logged) log.warn("Registration failed", { reason });
      logged = reason;
    }
    await pause(options);
  }
}

async function pause({ backoff, untilWorthwhile, signal }: RegistrationLoopOptions): Promise<void> {
  const ended = new AbortController();
  const untilEnded = AbortSignal.any([signal, ended.signal]);
  const wait = backoff.wait(untilEnded);
  const ends = [wait, untilWorthwhile?.(untilEnded).catch(() => wait) ?? wait]; // a check that fails shortens no wait
  const settled = Promise.allSettled(ends);
  await Promise.race(ends).catch(() => {}); // rejects only when aborted
  ended.abort();
  await settled;
}
