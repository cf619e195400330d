import { expect, test } from "bun:test";
import { createEndOfTick } from "./end_of_tick.ts";

test("createEndOfTick() resolves after all callbacks of the tick, for all callers together", async () => {
  const endOfTick = createEndOfTick();
  const events: string[] = [];
  setImmediate(() => events.push("callback"));
  const ends = [endOfTick(), endOfTick()].map((end) => end.then(() => events.push("end")));
  await Promise.resolve();
  expect(events).toEqual([]);
  await Promise.all(ends);
  expect(events).toEqual(["callback", "end", "end"]);
});

test("createEndOfTick() waits for the next tick when called again", async () => {
  const endOfTick = createEndOfTick();
  await endOfTick();
  let isOver = false;
  const end = endOfTick().then(() => {
    isOver = true;
  });
  await Promise.resolve();
  expect(isOver).toBe(false);
  await end;
});
