import { expect, test } from "bun:test";
import { createLatest } from "../../../program/latest.ts";
import type { LeaseHealth, NodeHealth } from "../health/lease_health.ts";
import { claimHealth } from "../health/testing.ts";
import { reportLosses } from "./loss_events.ts";
import { recordEvents } from "./testing.ts";

const UNHEALTHY: Partial<LeaseHealth> = { gpus: [{ id: "a/0", healthy: false, problem: "xid-79" }] };

/** Follows the health of one claim. `set` changes it, and returns the messages of the events that follow. */
function start() {
  const { events, lines, control, options } = recordEvents();
  const health = createLatest<NodeHealth>();
  const time = { now: 0 };
  const stop = new AbortController();
  const ended = reportLosses({ ...options, health, now: () => time.now }, stop.signal);
  return {
    events,
    lines,
    control,
    time,
    async set(leases: Partial<LeaseHealth>): Promise<string[]> {
      const before = events.length;
      health.set(new Map([["uid-1", claimHealth(leases)]]));
      for (let tick = 0; tick < 20; tick += 1) await Promise.resolve();
      return events.slice(before).map(({ reason, message }) => `${reason}: ${message}`);
    },
    async stop() {
      stop.abort();
      await ended;
    },
  };
}

test("a pod is told when it loses a GPU, once, and when it can use it again", async () => {
  const { set, time, stop } = start();
  expect(await set({})).toEqual([]);
  expect(await set(UNHEALTHY)).toEqual(["GPUsLost: Pool server gpu-a:56001 reports GPU a/0 as unhealthy: xid-79"]);
  time.now += 60_000;
  expect(await set(UNHEALTHY)).toEqual([]);
  expect(await set({})).toEqual(["GPUsRecovered: All GPUs can be used again"]);
  await stop();
});

test("a pod gets at most one event in 30 s, and then that of the last change", async () => {
  const { set, time, stop } = start();
  expect(await set(UNHEALTHY)).toHaveLength(1);
  time.now += 10_000;
  expect(await set({})).toEqual([]);
  expect(await set({ failure: "refused" })).toEqual([]);
  time.now += 20_000;
  expect(await set({ failure: "refused" })).toEqual(["GPUsLost: Cannot renew the lease on GPU a/0: refused"]);
  await stop();
});

test("a failure that only reads differently is no change", async () => {
  const { set, time, stop } = start();
  expect(await set({ failure: "connection refused" })).toHaveLength(1);
  time.now += 60_000;
  expect(await set({ failure: "timed out" })).toEqual([]);
  await stop();
});

test("an event that was refused is logged, and tried again after 30 s", async () => {
  const { set, control, time, lines, stop } = start();
  control.refusal = "exceeded quota";
  expect(await set(UNHEALTHY)).toEqual([]);
  expect(lines).toEqual([expect.stringMatching(/^Cannot tell pods of lost GPUs.*exceeded quota/)]);
  delete control.refusal;
  expect(await set(UNHEALTHY)).toEqual([]);
  time.now += 30_000;
  expect(await set(UNHEALTHY)).toHaveLength(1);
  await stop();
});
