import { expect, test } from "bun:test";
import { clampTimeout, jitter, MAX_TIMEOUT } from "./timers.ts";

const DAY = 86_400_000;

test.each([
  [-1, 0],
  [0, 0],
  [20 * DAY, 20 * DAY],
  [30 * DAY, MAX_TIMEOUT],
  [Infinity, MAX_TIMEOUT],
])("clampTimeout(%d) returns %d", (time, expected) => {
  expect(clampTimeout(time)).toBe(expected);
});

test("MAX_TIMEOUT is a time that setTimeout() waits for", async () => {
  let fired = false;
  const timer = setTimeout(() => {
    fired = true;
  }, MAX_TIMEOUT);
  // A time that does not fit becomes 1 ms.
  for (let timers = 0; timers < 5; timers += 1) await new Promise((resolve) => setTimeout(resolve, 1));
  clearTimeout(timer);
  expect(fired).toBe(false);
});

test.each([
  [0, 7500],
  [0.5, 8750],
  [1, 10_000],
])("jitter() returns 75 to 100 %% of the time: for %d, %d of 10000 ms", (random, expected) => {
  expect(jitter(10_000, () => random)).toBe(expected);
});
