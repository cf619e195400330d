import { heapStats } from "bun:jsc";
import { expect, test } from "bun:test";
import { createKeyedMutex } from "./keyed_mutex.ts";

test("KeyedMutex runs functions with the same key in order, and those with other keys concurrently", async () => {
  const mutex = createKeyedMutex();
  const events: string[] = [];
  const first = Promise.withResolvers<void>();
  const run = (name: string, until?: Promise<void>) => async () => {
    events.push(`${name} starts`);
    await until;
    events.push(`${name} ends`);
    return name;
  };
  const runs = [
    mutex("a", run("a1", first.promise)),
    mutex("a", run("a2")),
    mutex("b", run("b1")),
    mutex("a", run("a3")),
  ];
  await runs[2];
  expect(events).toEqual(["a1 starts", "b1 starts", "b1 ends"]);
  first.resolve();
  expect(await Promise.all(runs)).toEqual(["a1", "a2", "b1", "a3"]);
  expect(events.slice(3)).toEqual(["a1 ends", "a2 starts", "a2 ends", "a3 starts", "a3 ends"]);
});

test("KeyedMutex runs the next function after a function that throws", async () => {
  const mutex = createKeyedMutex();
  const failed = mutex("a", () => Promise.reject(new Error("failed"))).catch(String);
  const next = mutex("a", async () => "next");
  expect(await failed).toBe("Error: failed");
  expect(await next).toBe("next");
});

test("KeyedMutex runs a function that is added while the second one runs after that one", async () => {
  const mutex = createKeyedMutex();
  const second = Promise.withResolvers<void>();
  let isSecondOver = false;
  const [first, running] = [
    mutex("a", async () => {}),
    mutex("a", async () => {
      await second.promise;
      isSecondOver = true;
    }),
  ];
  await first;
  const third = mutex("a", async () => isSecondOver);
  second.resolve();
  await running;
  expect(await third).toBe(true);
});

test("KeyedMutex needs no memory for keys whose functions have ended", async () => {
  const mutex = createKeyedMutex();
  const promises = () => {
    Bun.gc(true);
    return heapStats().objectTypeCounts.Promise ?? 0;
  };
  const before = promises();
  for (let key = 0; key < 1000; key++) await mutex(String(key), async () => {});
  expect(promises() - before).toBeLessThan(500);
});
