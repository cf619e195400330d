import { setTimeout as sleep } from "node:timers/promises";
import { type Logger, messageOf } from "../program/log/log.ts";
import { createElection, type Election, type ElectionOptions } from "./election.ts";

export interface LeaderOptions extends ElectionOptions {
  log: Logger;
  /** The leader stops its work after this time without a renewal, in ms. It must be shorter than `duration`. */
  renewDeadline?: number;
  /** Time between two attempts to acquire or renew the Lease, in ms. */
  retryPeriod?: number;
  /** Called with the holder of the Lease, each time that another holds it. */
  onFollow?: (holder: string) => void;
}

/**
 * Runs `lead` while this candidate holds the Lease, as client-go's leaderelection does and with its default times. Of
 * several candidates one leads; when it ends, another takes over. Returns after the signal is aborted and the Lease is
 * released.
 *
 * @param lead must end when its signal is aborted. An error that it throws ends this function, too.
 */
export async function runAsLeader(
  options: LeaderOptions,
  lead: (signal: AbortSignal) => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  const { log, name, retryPeriod = 2000, onFollow } = options;
  const election = createElection(options);
  while (!signal.aborted) {
    const acquired = await election.tryAcquire(signal).catch((error) => {
      if (!signal.aborted) log.warn("Cannot acquire the Lease", { lease: name, reason: messageOf(error) });
    });
    if (acquired) {
      await leadOnce(election, options, lead, signal);
      continue;
    }
    if (acquired === false && election.holder !== undefined) onFollow?.(election.holder);
    await sleep(retryPeriod * (1 + Math.random() / 5), undefined, { signal }).catch(() => {}); // rejects only when aborted
  }
}

async function leadOnce(
  election: Election,
  options: LeaderOptions,
  lead: (signal: AbortSignal) => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  const { log, name, identity } = options;
  log.info("Leading", { lease: name, identity });
  const lost = new AbortController();
  const untilLost = AbortSignal.any([signal, lost.signal]);
  const work = lead(untilLost).finally(() => lost.abort());
  work.catch(() => {}); // awaited below
  try {
    await keepRenewed(election, options, untilLost);
    lost.abort();
    await work;
  } finally {
    await election.release().catch((error) => {
      log.warn("Cannot release the Lease", { lease: name, reason: messageOf(error) });
    });
    log.info("No longer leading", { lease: name, identity });
  }
}

/**
 * Returns when another candidate holds the Lease, when the renew deadline has passed, or when the signal is aborted.
 */
async function keepRenewed(
  election: Election,
  { log, name, renewDeadline = 10_000, retryPeriod = 2000 }: LeaderOptions,
  signal: AbortSignal,
): Promise<void> {
  let renewedAt = performance.now();
  for (;;) {
    await sleep(retryPeriod, undefined, { signal }).catch(() => {}); // rejects only when aborted
    if (signal.aborted) return;
    const remaining = Math.max(0, renewedAt + renewDeadline - performance.now());
    try {
      const isHeld = await election.tryAcquire(AbortSignal.any([signal, AbortSignal.timeout(remaining)]));
      if (!isHeld) return;
      renewedAt = performance.now();
    } catch (error) {
      if (signal.aborted) return;
      log.warn("Cannot renew the Lease", { lease: name, reason: messageOf(error) });
      if (performance.now() - renewedAt >= renewDeadline) return;
    }
  }
}
