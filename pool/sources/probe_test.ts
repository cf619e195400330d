import { expect, test } from "bun:test";
import { freePort } from "../../program/testing.ts";
import { measureConnectTime } from "./probe.ts";
import { startInventoryServer } from "./testing.ts";

test("measureConnectTime() returns a time if a server listens, otherwise undefined", async () => {
  const { signal } = new AbortController();
  await using server = await startInventoryServer();
  expect(await measureConnectTime(server.address, 4000, signal)).toBeGreaterThan(0);
  expect(await measureConnectTime(`127.0.0.1:${await freePort()}`, 4000, signal)).toBeUndefined();
});

test("measureConnectTime() returns undefined if the host name does not resolve", async () => {
  expect(await measureConnectTime("missing.invalid:1", 4000, new AbortController().signal)).toBeUndefined();
});

test("measureConnectTime() returns undefined when the signal is aborted, before or while it waits", async () => {
  await using server = await startInventoryServer();
  expect(await measureConnectTime(server.address, 4000, AbortSignal.abort())).toBeUndefined();
  const stop = new AbortController();
  const time = measureConnectTime(server.address, 4000, stop.signal);
  stop.abort();
  expect(await time).toBeUndefined();
});
