import { setTimeout as sleep } from "node:timers/promises";
import { measureConnectTime } from "../../../pool/sources/probe.ts";
import type { Latest } from "../../../program/latest.ts";
import type { Logger } from "../../../program/log/log.ts";
import { jitter } from "../../../program/timers.ts";
import type { RoundTrips } from "../../round_trips.ts";
import type { PreparedClaim } from "../files/prepared_claim.ts";
import type { NodeHealth } from "../health/lease_health.ts";
import { addRoundTrip, medianOf, type Path } from "./path.ts";

/** A path to a pool server that is slow. */
export interface SlowPath {
  /** host:port of the server. */
  readonly address: string;
  /** In ms. */
  readonly roundTrip: number;
  /** Those with leases on the server. */
  readonly claims: readonly PreparedClaim[];
}

export interface PathWatchOptions {
  /** What tells on which servers the node has leases. */
  health: Latest<NodeHealth>;
  roundTrips: Pick<RoundTrips, "observe" | "remove">;
  /** The round trip above which a path is slow, in ms. 0: none is. */
  limit: number;
  /** Called after each round with the slow paths. The next round waits for it. */
  onSlow: (paths: readonly SlowPath[], signal: AbortSignal) => Promise<void>;
  log: Logger;
  measure?: typeof measureConnectTime;
  /** Longest time between two rounds, in ms. */
  period?: number;
  signal: AbortSignal;
}

/** Longest round trip that counts, in ms. It leaves out connections that needed a second attempt. */
const TIMEOUT = 900;

/** Measures the round trip to each pool server on which the node has leases, in rounds. Returns when the signal is aborted. */
export async function watchPaths(options: PathWatchOptions): Promise<void> {
  const { health, roundTrips, limit, onSlow, log, measure = measureConnectTime, period = 10_000, signal } = options;
  const paths = new Map<string, Path>();

  async function update(address: string): Promise<void> {
    const time = await measure(address, TIMEOUT, signal);
    if (time === undefined) return; // the server is away: the renewals tell so
    roundTrips.observe({ server: address }, time / 1000);
    const before = paths.get(address);
    const path = addRoundTrip(before, time, limit);
    paths.set(address, path);
    if (path.isSlow === (before?.isSlow ?? false)) return;
    const fields = { address, roundTrip: medianOf(path), limit };
    if (path.isSlow) log.warn("The path to a pool server is slow", fields);
    else log.info("The path to a pool server is no longer slow", fields);
  }

  while (!signal.aborted) {
    await sleep(jitter(period), undefined, { signal }).catch(() => {}); // rejects only when aborted
    const servers = claimsByServer(health.current);
    for (const address of paths.keys()) {
      if (servers.has(address)) continue;
      paths.delete(address);
      roundTrips.remove({ server: address });
    }
    await Promise.all(Array.from(servers.keys(), update));
    const slow = [...servers].flatMap(([address, claims]) => {
      const path = paths.get(address);
      return path?.isSlow ? { address, roundTrip: medianOf(path), claims } : [];
    });
    if (!signal.aborted) await onSlow(slow, signal);
  }
}

function claimsByServer(health: NodeHealth = new Map()): Map<string, PreparedClaim[]> {
  const servers = new Map<string, PreparedClaim[]>();
  for (const { claim } of health.values()) {
    for (const address of new Set(claim.leases.map((lease) => lease.address))) {
      servers.getOrInsertComputed(address, () => []).push(claim);
    }
  }
  return servers;
}
