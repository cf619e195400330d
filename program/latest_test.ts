import { expect, test } from "bun:test";
import { createLatest } from "./latest.ts";

test("changes() yields the current value immediately, then each newer value", async () => {
  const latest = createLatest(1);
  const stop = new AbortController();
  const seen: number[] = [];
  for await (const value of latest.changes(stop.signal)) {
    seen.push(value);
    if (value < 3) queueMicrotask(() => latest.set(value + 1));
    else stop.abort();
  }
  expect(seen).toEqual([1, 2, 3]);
});

test("changes() waits for the first value", async () => {
  const latest = createLatest<string>();
  expect(latest.current).toBeUndefined();
  const values = latest.changes(AbortSignal.timeout(4000))[Symbol.asyncIterator]();
  const first = values.next();
  latest.set("a");
  expect((await first).value).toBe("a");
  await values.return?.();
});

test("changes() skips outdated values", async () => {
  const latest = createLatest("a");
  const values = latest.changes(AbortSignal.timeout(4000))[Symbol.asyncIterator]();
  expect((await values.next()).value).toBe("a");
  latest.set("b");
  latest.set("c");
  expect((await values.next()).value).toBe("c");
  const next = values.next();
  latest.set("d");
  expect((await next).value).toBe("d");
  await values.return?.();
});

test("changes() does not yield a value that is set again", async () => {
  const value = { a: 1 };
  const latest = createLatest<object>(value);
  const values = latest.changes(AbortSignal.timeout(4000))[Symbol.asyncIterator]();
  await values.next();
  const next = values.next();
  latest.set(value);
  const other = { a: 1 };
  queueMicrotask(() => latest.set(other));
  expect((await next).value).toBe(other);
  await values.return?.();
});

test("changes() yields the newest value to every reader", async () => {
  const latest = createLatest("a");
  const readers = [1, 2].map(() => latest.changes(AbortSignal.timeout(4000))[Symbol.asyncIterator]());
  const read = () => Promise.all(readers.map(async (values) => (await values.next()).value));
  expect(await read()).toEqual(["a", "a"]);
  const next = read();
  latest.set("b");
  expect(await next).toEqual(["b", "b"]);
  for (const values of readers) await values.return?.();
});

test("changes() ends when the signal is aborted, before or while it waits", async () => {
  const latest = createLatest("a");
  expect(await Array.fromAsync(latest.changes(AbortSignal.abort()))).toEqual([]);
  const stop = new AbortController();
  const values = latest.changes(stop.signal)[Symbol.asyncIterator]();
  await values.next();
  const next = values.next();
  stop.abort();
  expect(await next).toEqual({ done: true, value: undefined });
});
