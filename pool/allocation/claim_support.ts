import { setTimeout as sleep } from "node:timers/promises";
import { createBackoff } from "../../program/backoff.ts";
import { type Logger, messageOf } from "../../program/log/log.ts";

/** What to do on a cluster without claims, for messages. The component is a folder of this repository. */
export const USE_UNITS = "install the kustomize component components/units";

/** Time between two attempts, in ms. The API server may have been upgraded in the meantime. */
const PERIOD = 60_000;

export interface ClaimSupportOptions {
  /** Returns what the API server lacks, such as "resource.k8s.io/v1 (Kubernetes 1.34 and later)". Undefined if it lacks nothing. */
  findMissing: (signal: AbortSignal) => Promise<string | undefined>;
  log: Logger;
  /** Called with a sentence that says what is missing and what to do. */
  onMissing: (reason: string) => void;
  signal: AbortSignal;
}

/**
 * Resolves once the API server supports what sharing by claims needs, or when the signal is aborted. A failed call is
 * retried with backoff.
 */
export async function waitForClaimSupport({ findMissing, log, onMissing, signal }: ClaimSupportOptions): Promise<void> {
  const backoff = createBackoff();
  let logged: string | undefined;
  while (!signal.aborted) {
    try {
      const missing = await findMissing(signal);
      if (missing === undefined) return;
      const reason = `The API server does not support ${missing}: upgrade it, or ${USE_UNITS}`;
      onMissing(reason);
      if (reason !== logged) log.warn("Cannot share the pool by claims", { reason });
      logged = reason;
      await sleep(PERIOD, undefined, { signal }).catch(() => {}); // rejects only when aborted
    } catch (error) {
      if (signal.aborted) return;
      log.warn("Cannot find out whether the API server supports sharing by claims", { reason: messageOf(error) });
      await backoff.wait(signal).catch(() => {}); // rejects only when aborted
    }
  }
}
