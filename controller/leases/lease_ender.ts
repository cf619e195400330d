import { setTimeout as sleep } from "node:timers/promises";
import { isObjectNotFound } from "../../kubernetes/error.ts";
import { claimPath, type ResourceClaim } from "../../kubernetes/objects/resource_claim.ts";
import type { KubernetesRequest } from "../../kubernetes/request.ts";
import { addressAttributes } from "../../pool/attributes.ts";
import type { PoolServer } from "../../pool/inventory.ts";
import type { ClaimAllocation } from "../../pool/lease.ts";
import { createTurns } from "../../pool/sources/pacing/turns.ts";
import type { PoolClient } from "../../pool/sources/pool_servers.ts";
import { createBackoff } from "../../program/backoff.ts";
import { createLatest, type Latest } from "../../program/latest.ts";
import { type Logger, messageOf } from "../../program/log/log.ts";
import type { ClaimIndex } from "../claims/claim_index.ts";
import { type ClaimState, stateOf } from "../claims/claim_state.ts";
import type { ControllerMetrics } from "../metrics.ts";
import { type ClaimLease, readClaimLeases } from "./claim_lease.ts";
import { reasonToEnd } from "./reason_to_end.ts";

export interface LeaseEnderOptions {
  request: KubernetesRequest;
  /** A client of a server. Undefined while the server does not answer: its leases are checked when it does. */
  clientOf: (address: string) => PoolClient | undefined;
  /** What the watch of claims has told. */
  claims: Pick<ClaimIndex, "isSynced" | "state">;
  log: Logger;
  metrics: Pick<ControllerMetrics, "endedLeases">;
  /** Longest time between two checks of a server's leases, in ms. By default {@link PERIOD}. */
  period?: number;
}

/**
 * Ends the leases whose claims hold them no more, so that the next pod gets the GPUs at once: the driver of a node that is dead, or whose pod was
 * deleted by force, does not end them.
 */
export interface LeaseEnder {
  /** Uses these servers from now on. */
  setServers(servers: readonly PoolServer[]): void;
  /**
   * Checks leases soon: a claim has lost an allocation. Calls before the next check are merged.
   *
   * @param servers the attribute `server` of those where the leases can be; by default all
   */
  trigger(servers?: ReadonlySet<string>): void;
  /** Returns when the signal is aborted. */
  run(signal: AbortSignal): Promise<void>;
}

/** Nothing is missed for longer, whatever the watch has told: a minute, and in a large pool so long that only four servers a second are checked. */
const PERIOD = { min: 60_000, perServer: 250 };

/** Shortest time between two checks of one server, in ms: where many pods end, their leases are checked together. */
const MIN_PERIOD = 500;

/** How many servers are checked at the same time, and when another one is although they have not answered, in ms. */
const CHECKS = { count: 8, longest: 500 };

/** Limit of one call to a pool server, in ms. */
const CALL_TIMEOUT = 5000;

/** First and longest time until a failed check of a server is repeated, in ms. */
const RETRY = { initial: 500, max: 10_000 };

/** The most claims that one check of a server reads from the API server, whatever the server sends. */
const MAX_READS = 1000;

export function createLeaseEnder(options: LeaseEnderOptions): LeaseEnder {
  const { request, clientOf, claims, log, metrics, period } = options;
  const servers = createLatest<readonly PoolServer[]>();
  const followed = new Map<string, Followed>();
  const checks = createTurns(CHECKS);

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
  async function follow(server: string, { triggered }: Followed, signal: AbortSignal): Promise<void> {
    const longest = period ?? Math.max(PERIOD.min, PERIOD.perServer * (servers.current?.length ?? 0));
    const ownPeriod = longest * (0.75 + Math.random() / 4); // else all servers would be checked at the same time
    for await (const _ of triggered.changes(signal, ownPeriod)) {
      const backoff = createBackoff(RETRY);
      let logged: string | undefined;
      while (!signal.aborted) {
        const client = clientOf(server);
        if (client) {
          using _turn = await checks.take(signal);
          const failure = await check(server, client, signal).then(() => undefined, messageOf);
          if (failure === undefined || signal.aborted) break;
          if (failure !== logged) log.warn("Cannot check the leases of a pool server", { server, reason: failure });
          logged = failure;
        }
        await backoff.wait(signal).catch(() => {}); // rejects only when aborted
      }
      await sleep(MIN_PERIOD, undefined, { signal }).catch(() => {}); // rejects only when aborted
    }
  }

  return {
    setServers: (next) => servers.set(next),
    trigger(chosen) {
      for (const { triggered, attribute } of followed.values()) if (chosen?.has(attribute) ?? true) triggered.set({});
    },
    async run(signal) {
      const running = new Set<Promise<void>>();
      for await (const current of servers.changes(signal)) {
        const addresses = new Set(current.filter(({ foreign }) => !foreign).map(({ address }) => address));
        for (const [address, { stop }] of followed) {
          if (addresses.has(address)) continue;
          stop.abort();
          followed.delete(address);
        }
        for (const address of addresses) {
          if (followed.has(address)) continue;
          const { server: attribute } = addressAttributes(address);
          const entry = { attribute, triggered: createLatest({}), stop: new AbortController() };
          followed.set(address, entry);
          const following = follow(address, entry, AbortSignal.any([signal, entry.stop.signal]));
          running.add(following);
          void following.finally(() => running.delete(following));
        }
      }
      await Promise.allSettled(running);
    },
  };
}

interface Followed {
  /** The attribute `server` of its GPUs. */
  readonly attribute: string;
  readonly triggered: Latest<object>;
  readonly stop: AbortController;
}
