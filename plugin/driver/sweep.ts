import { setTimeout as sleep } from "node:timers/promises";
import { type Backoff, createBackoff } from "../../program/backoff.ts";
import type { KeyedMutex } from "../../program/keyed_mutex.ts";
import { type Logger, messageOf } from "../../program/log/log.ts";
import { type ReadClaim, reasonForLoss } from "./claims/claim.ts";
import type { ClaimFiles } from "./files/claim_files.ts";
import type { Preparer } from "./prepare.ts";

export interface SweepOptions {
  files: Pick<ClaimFiles, "list" | "read">;
  preparer: Pick<Preparer, "unprepare">;
  readClaim: ReadClaim;
  /** By the uid of a claim. */
  mutex: KeyedMutex;
  log: Logger;
}

/**
 * Unprepares claims that were deleted or deallocated: the kubelet does so only while it remembers the claim. In doubt a claim's files stay, because the containers of its claim cannot start without it.
 *
 * @returns why the API server could not be asked about all claims. Undefined if it could.
 */
async function sweep(
  { files, preparer, readClaim, mutex, log }: SweepOptions,
  signal: AbortSignal,
): Promise<string | undefined> {
  async function removeIfLost(uid: string): Promise<void> {
    const prepared = await files.read(uid).catch((error) => {
      log.warn("Cannot read the record of a claim: it stays", { uid, reason: messageOf(error) });
    });
    if (!prepared) return;
    const lost = reasonForLoss(await readClaim(prepared, signal), prepared);
    if (!lost) return;
    await preparer.unprepare(uid);
    const { namespace, name } = prepared;
    log.info("Removed the file of a claim", { namespace, name, uid, reason: lost });
  }
  const sweeps = (await files.list()).map((uid) => mutex(uid, () => removeIfLost(uid)));
  const outcomes = await Promise.allSettled(sweeps);
  const failed = outcomes.find((outcome) => outcome.status === "rejected");
  return failed && messageOf(failed.reason);
}

export interface SweeperOptions extends SweepOptions {
  backoff?: Backoff;
  /** Time between two sweeps, in ms. */
  period: number;
  signal: AbortSignal;
}

/** Sweeps with backoff until the API server has answered for all claims, and then once in each period. Returns when the signal is aborted. */
export async function runSweeper(options: SweeperOptions): Promise<void> {
  const { log, signal, backoff = createBackoff({ max: 60_000 }), period } = options;
  let logged: string | undefined;
  while (!signal.aborted) {
    const failure = await sweep(options, signal).catch(messageOf);
    if (signal.aborted) return;
    if (failure !== undefined && failure !== logged) {
      log.warn("Cannot find out whether prepared claims still exist: their files stay", { reason: failure });
    }
    logged = failure;
    if (failure === undefined) backoff.reset();
    const wait = failure === undefined ? sleep(period, undefined, { signal }) : backoff.wait(signal);
    await wait.catch(() => {}); // rejects only when aborted
  }
}
