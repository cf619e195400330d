import { setTimeout as sleep } from "node:timers/promises";
import { type Backoff, createBackoff } from "../../program/backoff.ts";
import type { KeyedMutex } from "../../program/keyed_mutex.ts";
import { type Logger, messageOf } from "../../program/log/log.ts";
import { type ReadClaim, whyLost } from "./claim.ts";
import type { ClaimFiles } from "./claim_files.ts";

export interface SweepOptions {
  files: ClaimFiles;
  readClaim: ReadClaim;
  /** By the uid of a claim. */
  mutex: KeyedMutex;
  log: Logger;
}

/**
 * Removes the files of claims that are gone, or no longer allocated: the kubelet unprepares a claim only while it remembers it. In doubt
 * a file stays, for without it no container of its claim can start.
 *
 * @returns why the API server could not be asked about all of them, if so.
 */
async function sweep({ files, readClaim, mutex, log }: SweepOptions, signal: AbortSignal): Promise<string | undefined> {
  async function removeIfLost(uid: string): Promise<void> {
    const prepared = await files.read(uid).catch((error) => {
      log.warn("A claim's file stays that cannot be read", { uid, reason: messageOf(error) });
    });
    if (!prepared) return;
    const lost = whyLost(await readClaim(prepared, signal), prepared);
    if (!lost) return;
    await files.remove(uid);
    const { namespace, name } = prepared;
    log.info("Removed what was left of a claim", { namespace, name, uid, reason: lost });
  }
  const sweeps = (await files.list()).map((uid) => mutex(uid, () => removeIfLost(uid)));
  const outcomes = await Promise.allSettled(sweeps);
  const doubt = outcomes.find((outcome) => outcome.status === "rejected");
  return doubt && messageOf(doubt.reason);
}

export interface KeepSweptOptions extends SweepOptions {
  backoff?: Backoff;
  /** From one sweep to the next, in ms. */
  period?: number;
  signal: AbortSignal;
}

const HOUR = 3_600_000;

/** Sweeps until the API server has told of every claim, and from then on once an hour. */
export async function keepSwept(options: KeepSweptOptions): Promise<void> {
  const { log, signal, backoff = createBackoff({ max: 60_000 }), period = HOUR } = options;
  let complaint: string | undefined;
  while (!signal.aborted) {
    const doubt = await sweep(options, signal).catch(messageOf);
    if (signal.aborted) return;
    if (doubt !== undefined && doubt !== complaint) {
      log.warn("Cannot ask whether prepared claims are still there: their files stay", { reason: doubt });
    }
    complaint = doubt;
    if (doubt === undefined) backoff.reset();
    const wait = doubt === undefined ? sleep(period, undefined, { signal }) : backoff.wait(signal);
    await wait.catch(() => {}); // only the signal ends it early
  }
}
