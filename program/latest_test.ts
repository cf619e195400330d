import { heapStats } from "bun:jsc";
import { expect, test } from "bun:test";
import { getEventListeners } from "node:events";
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

test("changes() yields a value again after `repeatAfter` ms without a newer one, for each reader on its own", async () => {
  const latest = createLatest("a");
  const stop = new AbortController();
  const slow: string[] = [];
  const reading = (async () => {
    for await (const value of latest.changes(stop.signal, 100)) if (slow.push(value) === 2) stop.abort();
  })();
  let fast = 0;
  for await (const _ of latest.changes(stop.signal, 5)) fast += 1;
  await reading;
  expect(slow).toEqual(["a", "a"]);
  expect(fast).toBeGreaterThan(2);
});

test("changes() yields a newer value before `repeatAfter` ms have passed, also if that is more than a timer can wait", async () => {
  const latest = createLatest("a");
  const values = latest.changes(AbortSignal.timeout(4000), 30 * 86_400_000)[Symbol.asyncIterator]();
  await values.next();
  const next = values.next();
  for (let timers = 0; timers < 5; timers += 1) await new Promise((resolve) => setTimeout(resolve, 1));
  latest.set("b");
  expect((await next).value).toBe("b");
  await values.return?.();
});

test("changes() leaves nothing behind when its reader stops: neither a listener of the signal nor memory", async () => {
  const latest = createLatest("a");
  const { signal } = new AbortController();
  const promises = () => {
    Bun.gc(true);
    return heapStats().objectTypeCounts.Promise ?? 0;
  };
  const before = promises();
  for (let reader = 0; reader < 1000; reader++) for await (const _ of latest.changes(signal)) break;
  expect(getEventListeners(signal, "abort")).toEqual([]);
  expect(promises() - before).toBeLessThan(500);
});
