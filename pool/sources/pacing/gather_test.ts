import { expect, test } from "bun:test";
import { createGathering } from "./gather.ts";

test("createGathering() lets changes wait while more are expected, at most for its time since the first one", () => {
  let now = 1000;
  const gathering = createGathering(300, () => now);
  const waiting = { hasChange: true, moreExpected: true };
  expect(gathering({ hasChange: false, moreExpected: true })).toBe(0);
  expect(gathering(waiting)).toBe(300);
  now += 100;
  expect(gathering(waiting)).toBe(200);
  expect(gathering({ hasChange: true, moreExpected: false })).toBe(0);
  expect(gathering(waiting)).toBe(300); // another change
  now += 300;
  expect(gathering(waiting)).toBe(0);
});
