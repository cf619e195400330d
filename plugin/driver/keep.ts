import { setTimeout as sleep } from "node:timers/promises";
import { messageOf } from "../../program/log/log.ts";
import { jitter } from "../../program/timers.ts";
import type { PreparedClaim } from "./files/prepared_claim.ts";
import { createKeptClaims, type KeptClaimsOptions, type RenewalOf } from "./kept_claims.ts";
import type { HeldLease } from "./leases/held_lease.ts";
import { renewLeases } from "./leases/leases.ts";

export interface KeeperOptions extends KeptClaimsOptions {
  /** Longest time between two rounds, in ms. */
  period?: number;
}

/** Keeps what the prepared claims of the node need. */
export interface Keeper {
  /** Tells of a claim with new leases: the next round may have to start earlier. */
  expect(claim: PreparedClaim): void;
  /** Returns when the signal is aborted. */
  run(signal: AbortSignal): Promise<void>;
}

/** A lease of a claim. */
interface ClaimLease {
  readonly uid: string;
  readonly lease: HeldLease;
}

const UNCONFIRMED =
  "the API server has not answered about the claim within API_OUTAGE_TIME: its leases are not renewed until it does";

/** Shortest time between two rounds, in ms. */
const MIN_PERIOD = 50;

/**
 * Renews the leases of all prepared claims, in each round and four times in their time to live: with one call to each server. Restores files that
 * were deleted: a CDI file from the claim's record, and a record from the claim that the CDI file names. Passes on new CAs of the pool servers, and
 * tells the health of the leases. A server or claim that takes long delays itself only.
 */
export function createKeeper(options: KeeperOptions): Keeper {
  const { files, pool, claims, log, period = 10_000 } = options;
  const kept = createKeptClaims(options);
  /** What was started and has not ended, by what it is for. */
  const running = new Map<string, Promise<void>>();
  let wake = new AbortController();
  let pause = period;

  /** Starts something that catches its errors, unless the same is still running. */
  function start(subject: string, work: () => Promise<void>): void {
    if (running.has(subject)) return;
    running.set(
      subject,
      work().finally(() => running.delete(subject)),
    );
  }

  async function settle(uid: string, renewalOf: RenewalOf, signal: AbortSignal): Promise<void> {
    await kept.settle(uid, renewalOf, signal);
    hasten();
  }

  async function renew(address: string, leases: readonly ClaimLease[], signal: AbortSignal): Promise<void> {
    const held = leases.map(({ lease }) => lease);
    const renewals = await renewLeases(address, held, pool, signal);
    if (signal.aborted) return;
    for (const uid of new Set(leases.map((each) => each.uid))) {
      start(`${uid} on ${address}`, () => settle(uid, ({ leaseId }) => renewals.get(leaseId), signal));
    }
  }

  /** The prepared claims. One whose record cannot be read is settled all the same, which logs why. */
  async function readClaims(uids: readonly string[], signal: AbortSignal): Promise<PreparedClaim[]> {
    const read = uids.map(async (uid) => {
      try {
        return (await files.read(uid)) ?? [];
      } catch {
        start(uid, () => settle(uid, () => undefined, signal));
        return [];
      }
    });
    return (await Promise.all(read)).flat();
  }

  /** Starts what is to do, and returns the time until the next round, in ms. */
  async function round(signal: AbortSignal): Promise<number> {
    const [uids, unrecorded] = [await files.list(), await files.listUnrecorded()];
    kept.retain(new Set([...uids, ...unrecorded]));
    for (const uid of unrecorded) start(uid, () => kept.restore(uid, signal));
    const prepared = await readClaims(uids, signal);
    for (const claim of prepared) {
      if (claims.isConfirmed(claim)) continue;
      start(claim.uid, () => settle(claim.uid, () => ({ failure: UNCONFIRMED }), signal));
    }
    const leases = prepared
      .filter(claims.isConfirmed)
      .flatMap(({ uid, leases }) => leases.map((lease) => ({ uid, lease })));
    for (const [address, group] of Map.groupBy(leases, ({ lease }) => lease.address)) {
      start(address, () => renew(address, group, signal));
    }
    return jitter(Math.min(period, dueAfter([...prepared, ...kept.current])));
  }

  /** Starts the next round earlier if a lease needs it. */
  function hasten(): void {
    if (dueAfter(kept.current) < pause) wake.abort();
  }

  return {
    expect(claim) {
      kept.add(claim);
      hasten();
    },
    async run(signal) {
      let failure: string | undefined;
      await pool.ready(signal);
      while (!signal.aborted) {
        wake = new AbortController();
        const started = performance.now();
        pause = await round(signal).then(
          (time) => {
            failure = undefined;
            return time;
          },
          (error) => {
            if (failure !== messageOf(error)) log.warn("Cannot list prepared claims", { reason: messageOf(error) });
            failure = messageOf(error);
            return jitter(period);
          },
        );
        const rest = Math.max(MIN_PERIOD, pause - (performance.now() - started));
        await sleep(rest, undefined, { signal: AbortSignal.any([signal, wake.signal]) }).catch(() => {}); // rejects only when aborted
      }
      await Promise.all(running.values());
    },
  };
}

/** The time after which the leases of these claims are to be renewed, in ms: a quarter of the shortest time to live. */
function dueAfter(claims: readonly PreparedClaim[]): number {
  const times = claims.flatMap(({ leases }) => leases.map(({ timeToLive }) => timeToLive / 4));
  return Math.max(MIN_PERIOD, Math.min(...times));
}
