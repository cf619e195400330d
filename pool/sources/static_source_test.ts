import { expect, test } from "bun:test";
import { staticSource } from "./static_source.ts";

test("staticSource() yields one reachable server, and ends with the signal", async () => {
  const stop = new AbortController();
  const inventories = staticSource(stop.signal)[Symbol.asyncIterator]();
  expect((await inventories.next()).value).toEqual({
    servers: [{ address: "static", reachable: true, foreign: true }],
  });
  const next = inventories.next();
  stop.abort();
  expect((await next).done).toBe(true);
});

test("staticSource() ends if the signal is already aborted", async () => {
  expect(await Array.fromAsync(staticSource(AbortSignal.abort()))).toHaveLength(1);
});
