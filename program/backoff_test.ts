import { afterEach, beforeEach, expect, jest, test } from "bun:test";
import { type Backoff, createBackoff } from "./backoff.ts";

beforeEach(() => {
  jest.useFakeTimers();
});
afterEach(() => {
  jest.useRealTimers();
});

/** Waits once. Returns how long it took by the fake clock, in ms. */
async function waitTime(backoff: Backoff): Promise<number> {
  let ended = false;
  const waiting = backoff.wait(new AbortController().signal).then(() => {
    ended = true;
  });
  for (let time = 1; time <= 100_000; time += 1) {
    jest.advanceTimersByTime(1);
    for (let tick = 0; tick < 5; tick += 1) await Promise.resolve();
    if (ended) return time;
  }
  await waiting;
  return Number.NaN;
}

test.each([
  ["50 % of the delay for the smallest random number", 0, [100, 200, 400, 500, 500]],
  ["100 % of the delay for the largest random number", 1, [200, 400, 800, 1000, 1000]],
])("wait() doubles the delay up to the maximum: %s", async (_, random, expected) => {
  const backoff = createBackoff({ initial: 200, max: 1000, random: () => random });
  const times: number[] = [];
  for (const _ of expected) times.push(await waitTime(backoff));
  expect(times).toEqual(expected);
});

test("reset() restores the initial delay", async () => {
  const backoff = createBackoff({ initial: 200, max: 1000, random: () => 1 });
  expect(await waitTime(backoff)).toBe(200);
  expect(await waitTime(backoff)).toBe(400);
  backoff.reset();
  expect(await waitTime(backoff)).toBe(200);
});

test("wait() rejects when the signal is aborted", async () => {
  const stop = new AbortController();
  const waiting = createBackoff({ initial: 60_000 }).wait(stop.signal);
  stop.abort();
  expect(await waiting.catch((error) => error.name)).toBe("AbortError");
});
