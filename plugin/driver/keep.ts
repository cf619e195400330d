import { setTimeout as sleep } from "node:timers/promises";
import type { PoolServers } from "../../pool/sources/pool_servers.ts";
import type { KeyedMutex } from "../../program/keyed_mutex.ts";
import type { Latest } from "../../program/latest.ts";
import { type Logger, messageOf } from "../../program/log/log.ts";
import { allocatedShares, reasonForLoss } from "./claims/claim.ts";
import type { ConfirmedClaims } from "./claims/confirmed_claims.ts";
import type { ClaimFiles } from "./files/claim_files.ts";
import { isPreparedFor, type PreparedClaim } from "./files/prepared_claim.ts";
import {
  type ClaimHealth,
  failedHealth,
  grantedHealth,
  type LeaseHealth,
  type NodeHealth,
  renewedHealth,
} from "./health/lease_health.ts";
import type { HeldLease } from "./leases/held_lease.ts";
import { releaseLeases, renewLease, takeLease } from "./leases/leases.ts";
import { CALL_TIMEOUT } from "./leases/locate.ts";
import type { Preparer } from "./prepare.ts";

export interface KeeperOptions {
  files: ClaimFiles;
  pool: PoolServers;
  preparer: Preparer;
  claims: ConfirmedClaims;
  /** By the uid of a claim. */
  mutex: KeyedMutex;
  /** Set after each round, and when a claim was prepared. */
  health: Latest<NodeHealth>;
  log: Logger;
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

const UNCONFIRMED =
  "the API server has not answered about the claim within API_OUTAGE_TIME: its leases are not renewed until it does";

interface KeptLease {
  readonly lease: HeldLease;
  readonly health: LeaseHealth;
}

/** Shortest time between two rounds, in ms. */
const MIN_PERIOD = 50;

/**
 * Renews the leases of all prepared claims, in each round and four times in their time to live. Restores files that were deleted: a CDI file from
 * the claim's record, and a record from the claim that the CDI file names. Passes on new CAs of the pool servers, and tells the health of the leases.
 */
export function createKeeper(options: KeeperOptions): Keeper {
  const { files, pool, preparer, claims, mutex, health, log, period = 10_000 } = options;
  /** What {@link KeeperOptions.health} is set to. */
  const states = new Map<string, ClaimHealth>();
  /** The failure of each claim that was logged last. */
  const logged = new Map<string, string>();
  let wake = new AbortController();
  let pause = period;

  async function report(uid: string, message: string, work: () => Promise<void>): Promise<void> {
    try {
      await work();
      logged.delete(uid);
    } catch (error) {
      const reason = messageOf(error);
      if (logged.get(uid) !== reason) log.warn(message, { uid, reason });
      logged.set(uid, reason);
    }
  }

  /** Renews the leases of a claim. Returns the shortest time to live, in ms. */
  async function keep(uid: string, signal: AbortSignal): Promise<number> {
    let shortest = Number.POSITIVE_INFINITY;
    await report(uid, "Cannot keep the leases of a claim", async () => {
      const claim = await files.read(uid);
      if (!claim) return;
      shortest = Math.min(...claim.leases.map(({ timeToLive }) => timeToLive));
      const before = states.get(uid)?.leases;
      const fail = (lease: HeldLease, failure: string) => {
        return { lease, health: failedHealth(failure, before?.get(lease.leaseId)) };
      };
      const isConfirmed = claims.isConfirmed(claim);
      const kept = await Promise.all(
        claim.leases.map((lease) =>
          isConfirmed
            ? keepLease(lease, claim, signal).catch((error) => fail(lease, messageOf(error)))
            : fail(lease, UNCONFIRMED),
        ),
      );
      signal.throwIfAborted();
      const current = { ...claim, leases: kept.map(({ lease }) => lease) };
      states.set(uid, { claim: current, leases: new Map(kept.map(({ lease, health }) => [lease.leaseId, health])) });
      if (isConfirmed) await record(current, claim, signal);
      shortest = Math.min(...current.leases.map(({ timeToLive }) => timeToLive));
      const failures = new Set(kept.flatMap(({ health: { failure } }) => failure ?? []));
      if (failures.size > 0) throw new Error([...failures].join("; "));
    });
    return shortest;
  }

  /**
   * Renews a lease. One that has ended is taken again if the API server says that the claim still has the same allocation: else others
   * may have got its GPUs.
   */
  async function keepLease(lease: HeldLease, claim: PreparedClaim, signal: AbortSignal): Promise<KeptLease> {
    const renewed = await renewLease(lease, pool, signal);
    if (renewed) return { lease: renewed.lease, health: renewedHealth(renewed.gpus) };
    const untilLate = AbortSignal.any([signal, AbortSignal.timeout(CALL_TIMEOUT)]); // other claims wait for this round
    const shares = allocatedShares(await claims.readClaim(claim, untilLate), claim);
    if (isPreparedFor(shares, claim)) {
      const taken = await takeLease(lease, claim, pool, signal);
      return { lease: taken, health: grantedHealth(taken) };
    }
    throw new Error(`Pool server ${lease.address}: the lease has ended, and the claim was allocated again`);
  }

  async function record(claim: PreparedClaim, before: PreparedClaim, signal: AbortSignal): Promise<void> {
    const { namespace, name, uid } = claim;
    const isNew = ({ leaseId }: HeldLease) => before.leases.every((lease) => lease.leaseId !== leaseId);
    const taken = claim.leases.filter(isNew);
    if (!(await files.read(uid))) {
      await releaseLeases(taken, pool); // meanwhile another instance has unprepared the claim
      return;
    }
    for (const { address } of taken) {
      log.info("A lease had ended on its pool server, and was granted again", { namespace, name, uid, address });
    }
    await files.write(claim, pool.ca(), signal);
  }

  async function restore(uid: string, signal: AbortSignal): Promise<void> {
    await report(uid, "Cannot restore the record of a claim", async () => {
      const claim = await files.identify(uid);
      if (!claim || (await files.read(uid))) return; // meanwhile unprepared, or prepared
      const lost = reasonForLoss(await claims.readClaim(claim, signal), claim);
      if (lost) await preparer.unprepare(claim.uid);
      else await preparer.prepare(claim, signal);
      log.info(lost ? "Removed the file of a claim" : "Restored the record of a claim", {
        ...claim,
        ...(lost ? { reason: lost } : {}),
      });
    });
  }

  /** Returns the time until the next round, in ms. */
  async function round(signal: AbortSignal): Promise<number> {
    const [uids, unrecorded] = [await files.list(), await files.listUnrecorded()];
    const known = new Set([...uids, ...unrecorded]);
    for (const map of [logged, states]) for (const uid of map.keys()) if (!known.has(uid)) map.delete(uid);
    const times = await Promise.all([
      ...uids.map((uid) => mutex(uid, () => keep(uid, signal))),
      ...unrecorded.map(async (uid) => {
        await mutex(uid, () => restore(uid, signal));
        return Number.POSITIVE_INFINITY;
      }),
    ]);
    health.set(new Map(states));
    return Math.max(MIN_PERIOD, Math.min(period, ...times.map((time) => time / 4)));
  }

  return {
    expect(claim) {
      const leases = claim.leases.map((lease) => [lease.leaseId, grantedHealth(lease)] as const);
      states.set(claim.uid, { claim, leases: new Map(leases) });
      health.set(new Map(states));
      if (claim.leases.some(({ timeToLive }) => timeToLive / 4 < pause)) wake.abort();
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
            return period;
          },
        );
        const rest = Math.max(MIN_PERIOD, pause - (performance.now() - started));
        await sleep(rest, undefined, { signal: AbortSignal.any([signal, wake.signal]) }).catch(() => {}); // rejects only when aborted
      }
    },
  };
}
