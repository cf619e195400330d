import { setTimeout as sleep } from "node:timers/promises";
import { isObjectNotFound } from "../../kubernetes/error.ts";
import { claimPath, type ResourceClaim } from "../../kubernetes/objects/resource_claim.ts";
import type { KubernetesRequest } from "../../kubernetes/request.ts";
import type { PoolServer } from "../../pool/inventory.ts";
import type { ClaimAllocation } from "../../pool/lease.ts";
import { createPoolServers, type PoolClient } from "../../pool/sources/pool_servers.ts";
import type { Token } from "../../pool/token/token.ts";
import type { TokenSource } from "../../pool/token/token_source.ts";
import { createBackoff } from "../../program/backoff.ts";
import { createLatest } from "../../program/latest.ts";
import { type Logger, messageOf } from "../../program/log/log.ts";
import type { ClaimIndex } from "../claims/claim_index.ts";
import { type ClaimState, stateOf } from "../claims/claim_state.ts";
import type { ControllerMetrics } from "../metrics.ts";
import { type ClaimLease, readClaimLeases } from "./claim_lease.ts";
import { reasonToEnd } from "./reason_to_end.ts";

export interface LeaseEnderOptions {
  request: KubernetesRequest;
  /** The pool's token. */
  token: TokenSource;
  /** What the watch of claims has told. */
  claims: Pick<ClaimIndex, "isSynced" | "state">;
  log: Logger;
  metrics: Pick<ControllerMetrics, "endedLeases">;
  /** Longest time between two checks of a server's leases, in ms. */
  period?: number;
}

/**
 * Ends the leases whose claims hold them no more, so that the next pod gets the GPUs at once: the driver of a node that is dead, or whose pod was
 * deleted by force, does not end them.
 */
export interface LeaseEnder {
  /** Uses these servers from now on. */
  setServers(servers: readonly PoolServer[]): void;
  /** Checks all leases soon: a claim has lost an allocation. Calls before the next check are merged. */
  trigger(): void;
  /** Returns when the signal is aborted. */
  run(signal: AbortSignal): Promise<void>;
}

/** Nothing is missed for longer, whatever the watch has told: a minute. */
const PERIOD = 60_000;

/** Shortest time between two checks of one server, and of any, in ms: where many pods end, their leases are checked together. */
const MIN_PERIOD = { server: 500, any: 5 };

/** Limit of one call to a pool server, in ms. */
const CALL_TIMEOUT = 5000;

/** First and longest time until a failed check of a server is repeated, in ms. */
const RETRY = { initial: 500, max: 10_000 };

/** The most claims that one check of a server reads from the API server, whatever the server sends. */
const MAX_READS = 1000;

export function createLeaseEnder(options: LeaseEnderOptions): LeaseEnder {
  const { request, token: tokens, claims, log, metrics, period = PERIOD } = options;
  const servers = createLatest<readonly PoolServer[]>();
  const triggered = createLatest({});
  const followed = new Map<string, AbortController>();

  /** The watch may lag behind a driver. Only what the API server says now ends a lease: that of a running pod must stay. */
  async function readState({ namespace, name }: ClaimAllocation, signal: AbortSignal): Promise<ClaimState | undefined> {
    try {
      const response = await request(claimPath(namespace, name), { signal });
      return stateOf((await response.json()) as ResourceClaim);
    } catch (error) {
      if (isObjectNotFound(error)) return undefined;
      throw error;
    }
  }

  async function endIfLost(server: string, client: PoolClient, { id, claim }: ClaimLease, signal: AbortSignal) {
    const reason = reasonToEnd(claim, await readState(claim, signal));
    if (!reason) return;
    await client.release({ leaseId: id }, { signal, timeoutMs: CALL_TIMEOUT });
    metrics.endedLeases.inc();
    const { namespace, name, uid, node } = claim;
    log.info("Lease ended", { server, node, namespace, claim: name, uid, reason });
  }

  async function check(server: string, client: PoolClient, signal: AbortSignal): Promise<void> {
    if (!claims.isSynced) return; // each lease would be doubtful
    const { leases } = await client.listLeases({}, { signal, timeoutMs: CALL_TIMEOUT });
    const doubtful = readClaimLeases(leases).filter(({ claim }) =>
      reasonToEnd(claim, claims.state(`${claim.namespace}/${claim.name}`)),
    );
    for (const lease of doubtful.slice(0, MAX_READS)) await endIfLost(server, client, lease, signal);
  }

  /** Checks the leases of a server again and again. */
  async function follow(server: string, clientOf: () => PoolClient, signal: AbortSignal): Promise<void> {
    for await (const _ of triggered.changes(signal, period)) {
      const backoff = createBackoff(RETRY);
      let logged: string | undefined;
      for (;;) {
        const failure = await Promise.try(() => check(server, clientOf(), signal)).then(() => undefined, messageOf);
        if (signal.aborted) return;
        if (failure === undefined) break;
        if (failure !== logged) log.warn("Cannot check the leases of a pool server", { server, reason: failure });
        logged = failure;
        await backoff.wait(signal).catch(() => {}); // rejects only when aborted
      }
      const pause = Math.max(MIN_PERIOD.server, MIN_PERIOD.any * followed.size);
      await sleep(pause, undefined, { signal }).catch(() => {}); // rejects only when aborted
    }
  }

  return {
    setServers: (next) => servers.set(next),
    trigger: () => triggered.set({}),
    async run(signal) {
      const ended = new AbortController();
      const untilEnded = AbortSignal.any([signal, ended.signal]);
      const token = createLatest<Token>();
      using pool = createPoolServers({ servers: [], token });
      const running: Promise<void>[] = [];
      const followToken = async () => {
        for await (const next of tokens(untilEnded)) token.set(next);
      };
      const followServers = async () => {
        await pool.ready(untilEnded);
        for await (const current of servers.changes(untilEnded)) {
          const addresses = new Set(current.filter(({ foreign }) => !foreign).map(({ address }) => address));
          for (const [address, stop] of followed) {
            if (addresses.has(address)) continue;
            stop.abort();
            followed.delete(address);
          }
          for (const address of addresses) {
            if (followed.has(address)) continue;
            const stop = new AbortController();
            followed.set(address, stop);
            running.push(follow(address, () => pool.client(address), AbortSignal.any([untilEnded, stop.signal])));
          }
        }
      };
      try {
        await Promise.all([followToken(), followServers()]);
      } finally {
        ended.abort();
        await Promise.allSettled(running);
      }
    },
  };
}
