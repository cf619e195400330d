import { expect, test } from "bun:test";
import { freePort } from "../../program/testing.ts";
import { connectTime } from "./probe.ts";
import { startInventoryServer } from "./testing.ts";

test("connectTime() is a time where a server listens, and undefined where none does", async () => {
  const { signal } = new AbortController();
  await using server = await startInventoryServer();
  expect(await connectTime(server.address, 4000, signal)).toBeGreaterThan(0);
  expect(await connectTime(`127.0.0.1:${await freePort()}`, 4000, signal)).toBeUndefined();
});

test("connectTime() is undefined for a name that nobody has", async () => {
  expect(await connectTime("nobody.invalid:1", 4000, new AbortController().signal)).toBeUndefined();
});

test("connectTime() is undefined once the signal is aborted, before and while it waits", async () => {
  await using server = await startInventoryServer();
  expect(await connectTime(server.address, 4000, AbortSignal.abort())).toBeUndefined();
  const stop = new AbortController();
  const time = connectTime(server.address, 4000, stop.signal);
  stop.abort();
  expect(await time).toBeUndefined();
});
