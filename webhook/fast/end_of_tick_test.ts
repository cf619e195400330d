import { expect, test } from "bun:test";
import { createEndOfTick } from "./end_of_tick.ts";

test("createEndOfTick() resolves for all callers after the callbacks of the tick", async () => {
  const endOfTick = createEndOfTick();
  const events: string[] = [];
  setImmediate(() => events.push("callback"));
  const ends = [endOfTick(), endOfTick()].map((end) => end.then(() => events.push("end")));
  await Promise.resolve();
  expect(events).toEqual([]);
  await Promise.all(ends);
  expect(events).toEqual(["callback", "end", "end"]);
});

test("createEndOfTick() waits for the next tick if called again", async () => {
  const endOfTick = createEndOfTick();
  await endOfTick();
  let hasEnded = false;
  const end = endOfTick().then(() => {
    hasEnded = true;
  });
  await Promise.resolve();
  expect(hasEnded).toBe(false);
  await end;
});
