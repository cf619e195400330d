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
import { type Renewal, releaseLeases, takeLease } from "./leases/leases.ts";
import { CALL_TIMEOUT } from "./leases/locate.ts";
import type { Preparer } from "./prepare.ts";

export interface KeptClaimsOptions {
  files: ClaimFiles;
  pool: PoolServers;
  preparer: Preparer;
  claims: ConfirmedClaims;
  /** By the uid of a claim. */
  mutex: KeyedMutex;
  /** Set whenever more is known of the leases of a claim. */
  health: Latest<NodeHealth>;
  log: Logger;
}

/** What became of a lease. Undefined: nothing new. */
export type RenewalOf = (lease: HeldLease) => Renewal | undefined;

/** The prepared claims of the node, with what is known of their leases. */
export interface KeptClaims {
  /** The claims that a lease is known of. */
  readonly current: readonly PreparedClaim[];
  /** Adds a claim that was prepared just now. */
  add(claim: PreparedClaim): void;
  /** Forgets all claims but those with these uids. */
  retain(uids: ReadonlySet<string>): void;
  /** Takes over what became of leases of a claim: in its files, and in what the kubelet and users are told. */
  settle(uid: string, renewalOf: RenewalOf, signal: AbortSignal): Promise<void>;
  /** Restores the record of a claim from its CDI file, or removes the file if the claim is gone. */
  restore(uid: string, signal: AbortSignal): Promise<void>;
}

/** Failures are logged once for each claim and reason. */
export function createKeptClaims(options: KeptClaimsOptions): KeptClaims {
  const { files, pool, preparer, claims, mutex, health, log } = options;
  const states = new Map<string, ClaimHealth>();
  /** The failure of each claim that was logged last. */
  const logged = new Map<string, string>();

  /** Does something for a claim, and logs why it failed. */
  async function forClaim(uid: string, message: string, work: () => Promise<void>): Promise<void> {
    try {
      await mutex(uid, work);
      logged.delete(uid);
    } catch (error) {
      const reason = messageOf(error);
      if (logged.get(uid) !== reason) log.warn(message, { uid, reason });
      logged.set(uid, reason);
    }
  }

  async function takeOver(uid: string, renewalOf: RenewalOf, signal: AbortSignal): Promise<void> {
    const claim = await files.read(uid);
    if (!claim) return; // meanwhile unprepared
    const before = states.get(uid)?.leases;
    const kept = await Promise.all(
      claim.leases.map(async (lease) => {
        const renewal = renewalOf(lease);
        const earlier = before?.get(lease.leaseId);
        if (renewal === undefined) return { lease, health: earlier };
        return keepLease(lease, renewal, claim, signal).catch((error) => {
          return { lease, health: failedHealth(messageOf(error), earlier) };
        });
      }),
    );
    if (signal.aborted) return;
    const current = { ...claim, leases: kept.map(({ lease }) => lease) };
    const known = kept.flatMap(({ lease, health }) => (health ? [[lease.leaseId, health] as const] : []));
    show(current, new Map(known));
    if (claims.isConfirmed(claim)) await record(current, claim, signal);
    const failures = new Set(known.flatMap(([, { failure }]) => failure ?? []));
    if (failures.size > 0) throw new Error([...failures].join("; "));
  }

  /**
   * A lease after an attempt to renew it. One that has ended is taken again if the API server says that the claim still has the same
   * allocation: else others may have got its GPUs.
   */
  async function keepLease(lease: HeldLease, renewal: Renewal, claim: PreparedClaim, signal: AbortSignal) {
    if (renewal !== "ended") {
      if ("failure" in renewal) throw new Error(renewal.failure);
      return { lease: renewal.lease, health: renewedHealth(renewal.gpus) };
    }
    const untilLate = AbortSignal.any([signal, AbortSignal.timeout(CALL_TIMEOUT)]);
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
    const claim = await files.identify(uid);
    if (!claim || (await files.read(uid))) return; // meanwhile unprepared, or prepared
    const lost = reasonForLoss(await claims.readClaim(claim, signal), claim);
    if (lost) await preparer.unprepare(claim.uid);
    else await preparer.prepare(claim, signal);
    log.info(lost ? "Removed the file of a claim" : "Restored the record of a claim", {
      ...claim,
      ...(lost ? { reason: lost } : {}),
    });
  }

  function show(claim: PreparedClaim, leases: ReadonlyMap<string, LeaseHealth>): void {
    states.set(claim.uid, { claim, leases });
    publish();
  }

  /** A claim counts once something is known of each of its leases: the kubelet and users take a device that is left out as gone. */
  function publish(): void {
    health.set(new Map([...states].filter(([, { claim, leases }]) => claim.leases.length === leases.size)));
  }

  return {
    get current() {
      return Array.from(states.values(), ({ claim }) => claim);
    },
    add: (claim) => show(claim, new Map(claim.leases.map((lease) => [lease.leaseId, grantedHealth(lease)]))),
    retain(uids) {
      for (const map of [logged, states]) for (const uid of map.keys()) if (!uids.has(uid)) map.delete(uid);
      if (states.size === uids.size) publish(); // else the driver has just started
    },
    settle: (uid, renewalOf, signal) =>
      forClaim(uid, "Cannot keep the leases of a claim", () => takeOver(uid, renewalOf, signal)),
    restore: (uid, signal) => forClaim(uid, "Cannot restore the record of a claim", () => restore(uid, signal)),
  };
}
