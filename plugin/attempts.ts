import type { Counter } from "prom-client";
import type { Backoff } from "../program/backoff.ts";
import { type Logger, messageOf } from "../program/log.ts";

export interface AttemptsOptions {
  log: Logger;
  /** Counts the attempts that throw. */
  registrations: Counter<"result">;
  backoff: Backoff;
  signal: AbortSignal;
}

/** Registers again, with backoff, whenever an attempt ends: it returns why, or throws. Returns when the signal is aborted. */
export async function keepRegistered(
  attempt: () => Promise<string>,
  { log, registrations, backoff, signal }: AttemptsOptions,
): Promise<void> {
  while (!signal.aborted) {
    try {
      const reason = await attempt();
      log.info("Registering again", { reason });
    } catch (error) {
      if (signal.aborted) return;
      registrations.inc({ result: "failed" });
      log.warn("Registration failed", { reason: messageOf(error) });
    }
    await backoff.wait(signal).catch(() => {}); // only the signal ends it early
  }
}
