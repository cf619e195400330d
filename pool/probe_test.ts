import { expect, test } from "bun:test";
import { accepts } from "./probe.ts";
import { freePort, startPoolServer } from "./simulator/testing.ts";

test("accepts() is true where a server listens, and false where none does", async () => {
  const { signal } = new AbortController();
  await using server = await startPoolServer();
  expect(await accepts(server.address, 4000, signal)).toBe(true);
  expect(await accepts(`127.0.0.1:${await freePort()}`, 4000, signal)).toBe(false);
});

test("accepts() is false for a name that nobody has", async () => {
  expect(await accepts("nobody.invalid:1", 4000, new AbortController().signal)).toBe(false);
});

test("accepts() is false once the signal is aborted, before and while it waits", async () => {
  await using server = await startPoolServer();
  expect(await accepts(server.address, 4000, AbortSignal.abort())).toBe(false);
  const stop = new AbortController();
  const accepted = accepts(server.address, 4000, stop.signal);
  stop.abort();
  expect(await accepted).toBe(false);
});
