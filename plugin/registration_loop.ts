import type { Counter } from "prom-client";
import type { Backoff } from "../program/backoff.ts";
import { type Logger, messageOf } from "../program/log/log.ts";
import { DirectoryDeletedError } from "./file_watch.ts";

export interface AttemptsOptions {
  log: Logger;
  /** Counts the attempts that throw. */
  registrations: Counter<"result">;
  backoff: Backoff;
  /** Resolves when there is no need to wait any longer, such as for a new kubelet; rejects when its signal is aborted. */
  untilWorthwhile?: (signal: AbortSignal) => Promise<void>;
  signal: AbortSignal;
}

/**
 * Registers again, with backoff, whenever an attempt ends: it returns why, or throws. Returns when the signal is aborted.
 *
 * @throws {DirectoryDeletedError} of an attempt: no other one can help.
 */
export async function keepRegistered(attempt: () => Promise<string>, options: AttemptsOptions): Promise<void> {
  const { log, registrations, signal } = options;
  let said: string | undefined;
  while (!signal.aborted) {
    try {
      const reason = await attempt();
      log.info("Registering again", { reason });
      said = undefined;
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof DirectoryDeletedError) throw error;
      registrations.inc({ result: "failed" });
      const reason = messageOf(error);
      if (reason !== said) log.warn("Registration failed", { reason });
      said = reason;
    }
    await pause(options);
  }
}

async function pause({ backoff, untilWorthwhile, signal }: AttemptsOptions): Promise<void> {
  const over = new AbortController();
  const untilOver = AbortSignal.any([signal, over.signal]);
  const wait = backoff.wait(untilOver);
  const ends = [wait, untilWorthwhile?.(untilOver).catch(() => wait) ?? wait]; // one that cannot tell cuts nothing short
  const settled = Promise.allSettled(ends);
  await Promise.race(ends).catch(() => {}); // only the signal ends it early
  over.abort();
  await settled;
}
