import { expect, test } from "bun:test";
import { createEndOfTurn } from "./turn.ts";

test("endOfTurn() resolves for all that wait in one turn, after all that the turn does, one step of each before the next of any", async () => {
  const endOfTurn = createEndOfTurn();
  const said: string[] = [];
  async function work(name: string): Promise<void> {
    said.push(`${name} waits`);
    await endOfTurn();
    said.push(`${name} starts`);
    await Promise.resolve();
    said.push(`${name} ends`);
  }
  const works = [work("a"), Promise.resolve().then(() => work("b"))];
  await Promise.resolve();
  said.push("the turn goes on");
  await Promise.all(works);
  expect(said).toEqual(["a waits", "b waits", "the turn goes on", "a starts", "b starts", "a ends", "b ends"]);
});

test("endOfTurn() waits for the turn in which it is called, not for one before", async () => {
  const endOfTurn = createEndOfTurn();
  await endOfTurn();
  let hasEnded = false;
  setImmediate(() => {
    hasEnded = true;
  });
  await endOfTurn();
  expect(hasEnded).toBe(true);
});
