import { expect, test } from "bun:test";
import { createTurns } from "./turns.ts";

const { signal } = new AbortController();

test("createTurns() gives the next turn when one ends", async () => {
  const turns = createTurns({ count: 1, longest: 60_000 });
  const first = await turns.take(signal);
  const order: string[] = [];
  const second = turns.take(signal).then(() => order.push("second"));
  await Bun.sleep(0);
  order.push("first ends");
  first[Symbol.dispose]();
  await second;
  expect(order).toEqual(["first ends", "second"]);
});

test("createTurns() ends a turn that takes too long", async () => {
  const turns = createTurns({ count: 1, longest: 1 });
  await turns.take(signal);
  await turns.take(signal);
});

test("createTurns() lets nobody wait who has given up, and gives the turn to the next one", async () => {
  const turns = createTurns({ count: 1, longest: 60_000 });
  const first = await turns.take(signal);
  const stop = new AbortController();
  const second = turns.take(stop.signal);
  const third = turns.take(signal);
  stop.abort();
  await second;
  first[Symbol.dispose]();
  await third;
});
