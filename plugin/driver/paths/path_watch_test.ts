import { expect, test } from "bun:test";
import { Registry } from "prom-client";
import { createLatest } from "../../../program/latest.ts";
import { createRecordingLog } from "../../../program/testing.ts";
import { createRoundTrips } from "../../round_trips.ts";
import type { ClaimHealth, NodeHealth } from "../health/lease_health.ts";
import { claimHealth } from "../health/testing.ts";
import { watchPaths } from "./path_watch.ts";

/** A claim with a lease on each of these servers. */
function claimOn(uid: string, ...addresses: string[]): [string, ClaimHealth] {
  const { claim, leases } = claimHealth({}, uid);
  const [lease] = claim.leases as [(typeof claim.leases)[number]];
  return [uid, { claim: { ...claim, leases: addresses.map((address) => ({ ...lease, address })) }, leases }];
}

/** Measures paths in rounds; after each one, `next` returns the slow paths as `address: claims at round trip`. */
function start(times: Readonly<Record<string, number | undefined>>, limit: number) {
  const registry = new Registry();
  const health = createLatest<NodeHealth>();
  const lines: string[] = [];
  const stop = new AbortController();
  let round = Promise.withResolvers<string[]>();
  let resume = Promise.withResolvers<void>();
  const ended = watchPaths({
    health,
    roundTrips: createRoundTrips(registry),
    limit,
    onSlow: async (paths) => {
      resume = Promise.withResolvers();
      round.resolve(paths.map((path) => `${path.address}: ${path.claims.map(({ uid }) => uid)} at ${path.roundTrip}`));
      await resume.promise;
    },
    log: createRecordingLog(lines),
    measure: async (address) => times[address],
    period: 1,
    signal: stop.signal,
  });
  return {
    health,
    lines,
    metrics: () => registry.metrics(),
    async next() {
      const result = await round.promise;
      round = Promise.withResolvers();
      resume.resolve();
      return result;
    },
    async [Symbol.asyncDispose]() {
      stop.abort();
      resume.resolve();
      await ended;
    },
  };
}

test("the paths to the servers of leases are measured, and no others, for as long as there is a lease", async () => {
  await using watch = start({ "a:1": 1, "b:1": 2, "c:1": 3, "away:1": undefined }, 0);
  watch.health.set(new Map([claimOn("u-1", "a:1", "away:1"), claimOn("u-2", "a:1", "b:1")]));
  await watch.next();
  const count = (address: string) => `bitfusion_pool_round_trip_seconds_count{server="${address}"}`;
  const before = await watch.metrics();
  for (const address of ["a:1", "b:1"]) expect(before).toContain(`${count(address)} 1`);
  for (const address of ["c:1", "away:1"]) expect(before).not.toContain(address);
  watch.health.set(new Map([claimOn("u-1", "a:1", "away:1")]));
  await watch.next(); // this round may have begun before
  await watch.next();
  const after = await watch.metrics();
  expect(after).toContain(count("a:1"));
  expect(after).not.toContain("b:1");
});

test("a path that is slow is told with its claims until it recovers, and logged once", async () => {
  const times: Record<string, number> = { "a:1": 9, "b:1": 1 };
  await using watch = start(times, 4);
  watch.health.set(new Map([claimOn("u-1", "a:1", "b:1"), claimOn("u-2", "a:1"), claimOn("u-3", "b:1")]));
  const rounds = [];
  for (let round = 0; round < 6; round += 1) rounds.push(await watch.next());
  expect(rounds.slice(0, 4)).toEqual([[], [], [], []]);
  expect(rounds.slice(4)).toEqual([["a:1: u-1,u-2 at 9"], ["a:1: u-1,u-2 at 9"]]);
  times["a:1"] = 1;
  for (let round = 0; round < 4; round += 1) rounds.push(await watch.next());
  expect(rounds.at(-1)).toEqual([]);
  expect(watch.lines).toEqual([
    "The path to a pool server is slow: undefined",
    "The path to a pool server is no longer slow: undefined",
  ]);
});
