import { afterEach, beforeEach, expect, jest, test } from "bun:test";
import { type Backoff, createBackoff } from "./backoff.ts";

beforeEach(() => {
  jest.useFakeTimers();
});
afterEach(() => {
  jest.useRealTimers();
});

/** Waits once and tells the ms it took by the fake clock. */
async function timeOf(backoff: Backoff): Promise<number> {
  let ended = false;
  const waiting = backoff.wait(new AbortController().signal).then(() => {
    ended = true;
  });
  for (let time = 1; time <= 100_000; time += 1) {
    jest.advanceTimersByTime(1);
    for (let turn = 0; turn < 5; turn += 1) await Promise.resolve();
    if (ended) return time;
  }
  await waiting;
  return Number.NaN;
}

test.each([
  ["half of the time for the smallest random number", 0, [100, 200, 400, 500, 500]],
  ["the whole time for the greatest", 1, [200, 400, 800, 1000, 1000]],
])("wait() doubles up to the maximum: %s", async (_, random, expected) => {
  const backoff = createBackoff({ initial: 200, max: 1000, random: () => random });
  const times: number[] = [];
  for (const _ of expected) times.push(await timeOf(backoff));
  expect(times).toEqual(expected);
});

test("reset() makes the next wait the first again", async () => {
  const backoff = createBackoff({ initial: 200, max: 1000, random: () => 1 });
  expect(await timeOf(backoff)).toBe(200);
  expect(await timeOf(backoff)).toBe(400);
  backoff.reset();
  expect(await timeOf(backoff)).toBe(200);
});

test("wait() rejects when the signal is aborted", async () => {
  const stop = new AbortController();
  const waiting = createBackoff({ initial: 60_000 }).wait(stop.signal);
  stop.abort();
  expect(await waiting.catch((error) => error.name)).toBe("AbortError");
});
