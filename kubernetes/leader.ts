import { setTimeout as sleep } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";
import { type CoordinationV1Api, type V1Lease, V1MicroTime } from "@kubernetes/client-node";
import { type Logger, messageOf } from "../program/log.ts";
import { isStatus } from "./client.ts";

export interface LeaderOptions {
  coordination: CoordinationV1Api;
  namespace: string;
  /** Of the Lease. */
  name: string;
  /** Who asks for it: no two alike. */
  identity: string;
  log: Logger;
  /** How long others wait after the last renewal that they saw, in ms; client-go's defaults, as the two below. */
  duration?: number;
  /** After so long without a renewal the work ends, in ms. The rest of `duration` is left to what is under way. */
  renewDeadline?: number;
  retryPeriod?: number;
}

/**
 * Does the work of a leader for as long as the Lease (coordination.k8s.io/v1) is held: of several that ask for it one works, and when it
 * ends another takes over, as with client-go's leaderelection. Returns when the signal is aborted, and has then given the Lease up.
 *
 * @param lead ends when its signal is aborted; what it throws ends this, too.
 */
export async function leadWhileHeld(
  options: LeaderOptions,
  lead: (signal: AbortSignal) => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  const { log, name, identity, renewDeadline = 10_000, retryPeriod = 2000 } = options;
  const election = createElection(options);
  while (!signal.aborted) {
    if (await election.tryHold().catch(reportTo(log, name))) {
      log.info("Leading", { lease: name, identity });
      const lost = new AbortController();
      const until = AbortSignal.any([signal, lost.signal]);
      const working = lead(until).finally(() => lost.abort());
      working.catch(() => {}); // awaited below
      try {
        await keepHeld(until);
        lost.abort();
        await working;
      } finally {
        await election.release().catch(reportTo(log, name));
        log.info("No longer leading", { lease: name, identity });
      }
    } else {
      await sleep(retryPeriod * (1 + Math.random() / 5), undefined, { signal }).catch(() => {}); // only the signal ends it early
    }
  }

  /** Returns when the Lease is another's, could not be renewed in time, or the signal is aborted. */
  async function keepHeld(until: AbortSignal): Promise<void> {
    let renewed = performance.now();
    for (;;) {
      await sleep(retryPeriod, undefined, { signal: until }).catch(() => {});
      if (until.aborted) return;
      const left = AbortSignal.timeout(Math.max(0, renewed + renewDeadline - performance.now()));
      const held = await Promise.race([election.tryHold().catch(reportTo(log, name)), aborted(left), aborted(until)]);
      if (held === true) renewed = performance.now();
      else if (held === false || performance.now() - renewed >= renewDeadline) return;
    }
  }
}

/** Somebody else may have written in between, such as another label. */
const ATTEMPTS = 3;

function createElection({ coordination, namespace, name, identity, duration = 15_000 }: LeaderOptions) {
  let seen: V1Lease["spec"];
  /** By the own clock: others' may differ. */
  let seenAt = Number.NEGATIVE_INFINITY;

  async function read(): Promise<V1Lease | undefined> {
    try {
      return await coordination.readNamespacedLease({ namespace, name });
    } catch (error) {
      if (isStatus(error, 404)) return undefined;
      throw error;
    }
  }

  /** False when another was faster. */
  async function write(lease: V1Lease | undefined): Promise<boolean> {
    const now = new V1MicroTime();
    const { holderIdentity, acquireTime = now, leaseTransitions = 0 } = lease?.spec ?? {};
    const isOwn = holderIdentity === identity;
    const spec = {
      holderIdentity: identity,
      leaseDurationSeconds: Math.ceil(duration / 1000),
      acquireTime: isOwn ? acquireTime : now,
      renewTime: now,
      leaseTransitions: lease && !isOwn ? leaseTransitions + 1 : leaseTransitions,
    };
    try {
      const written = lease
        ? await coordination.replaceNamespacedLease({ namespace, name, body: { ...lease, spec } })
        : await coordination.createNamespacedLease({ namespace, body: { metadata: { name }, spec } });
      remember(written);
      return true;
    } catch (error) {
      if (isStatus(error, 409)) return false;
      throw error;
    }
  }

  function remember({ spec }: V1Lease): void {
    if (isDeepStrictEqual(spec, seen)) return;
    seen = spec;
    seenAt = performance.now();
  }

  function isTaken({ spec }: V1Lease): boolean {
    const { holderIdentity = "", leaseDurationSeconds = 0 } = spec ?? {};
    const isOver = performance.now() - seenAt >= leaseDurationSeconds * 1000;
    return holderIdentity !== "" && holderIdentity !== identity && !isOver;
  }

  return {
    /** Whether the Lease is held now. Throws when the API server does not answer: it may still be. */
    async tryHold(): Promise<boolean> {
      for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
        const lease = await read();
        if (lease) remember(lease);
        if (lease && isTaken(lease)) return false;

        if (await write(lease)) return true;
      }
      return false;
    },
    /** Others need not wait until it runs out. */
    async release(): Promise<void> {
      const lease = await read();
      if (lease?.spec?.holderIdentity !== identity) return;
      const spec = { ...lease.spec, holderIdentity: "", leaseDurationSeconds: 1, renewTime: new V1MicroTime() };
      await coordination.replaceNamespacedLease({ namespace, name, body: { ...lease, spec } });
    },
  };
}

function reportTo(log: Logger, lease: string): (error: unknown) => undefined {
  return (error) => {
    log.warn("Cannot ask for the Lease", { lease, reason: messageOf(error) });
    return undefined;
  };
}

function aborted(signal: AbortSignal): Promise<undefined> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve(undefined);
    signal.addEventListener("abort", () => resolve(undefined), { once: true });
  });
}
