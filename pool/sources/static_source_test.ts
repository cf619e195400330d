import { expect, test } from "bun:test";
import { staticSource } from "./static_source.ts";

test("staticSource tells one server that always answers, and ends with the signal", async () => {
  const stop = new AbortController();
  const inventories = staticSource(stop.signal)[Symbol.asyncIterator]();
  expect((await inventories.next()).value).toEqual({ servers: [{ address: "static", reachable: true }] });
  const next = inventories.next();
  stop.abort();
  expect((await next).done).toBe(true);
});

test("staticSource ends when the signal was aborted before", async () => {
  expect(await Array.fromAsync(staticSource(AbortSignal.abort()))).toHaveLength(1);
});
