import { expect, test } from "bun:test";
import { readSettings } from "./settings.ts";

test("readSettings() evicts after five minutes, preempts, and publishes the pool by default", () => {
  expect(readSettings({ POOL_SERVERS: "a:1,b:2", POD_NAME: "p" })).toEqual({
    servers: [{ address: "a:1" }, { address: "b:2" }],
    allocation: "claims",
    interval: 10_000,
    evictAfter: 300_000,
    preemption: true,
    metricsPort: 0,
    namespace: "bitfusion-system",
    driverNamespace: "bitfusion-node",
    identity: expect.stringMatching(/^p_[0-9a-f]{8}$/),
  });
});

test("readSettings() never evicts with EVICT_AFTER=never", () => {
  expect(readSettings({ EVICT_AFTER: "never" })).not.toHaveProperty("evictAfter");
  expect(readSettings({ EVICT_AFTER: "0" }).evictAfter).toBe(0);
});

test("readSettings() does not preempt with PREEMPTION=off", () => {
  expect(readSettings({ PREEMPTION: "off" }).preemption).toBe(false);
});

test("readSettings() returns a unique identity, even for replicas with the same name", () => {
  expect(readSettings({ POD_NAME: "p" }).identity).not.toBe(readSettings({ POD_NAME: "p" }).identity);
});

test.each([
  [{ EVICT_AFTER: "soon" }, 'Cannot use EVICT_AFTER="soon": expected never, or seconds from 0 to 31536000'],
  [{ PREEMPTION: "yes" }, 'Cannot use PREEMPTION="yes": expected on or off'],
  [{ ALLOCATION: "both" }, 'Cannot use ALLOCATION="both": expected claims or units'],
  [{ POOL_SERVERS: "a:1", SERVERS_CONF: "/x" }, 'Cannot use both POOL_SERVERS="a:1" and SERVERS_CONF="/x": set one'],
])("readSettings() rejects %j", (environment, message) => {
  expect(() => readSettings(environment)).toThrow(message);
});
