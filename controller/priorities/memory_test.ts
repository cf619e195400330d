import { expect, test } from "bun:test";
import { createMemory } from "./memory.ts";

const all = { exists: () => true };

test("createMemory() protects a pod for longer each time, and forgets it with the pod", () => {
  const memory = createMemory();
  const protectedFor = (start: number) => {
    memory.startRound(start, all);
    memory.protect("x");
    return [30, 60, 120, 240].find((seconds) => {
      memory.startRound(start + seconds * 1000, all);
      return !memory.isProtected("x");
    });
  };
  expect([protectedFor(0), protectedFor(1_000_000), protectedFor(2_000_000)]).toEqual([30, 60, 120]);
  memory.startRound(3_000_000, { exists: () => false });
  expect(protectedFor(3_000_000)).toBe(30);
});

test("createMemory() gives a pod that has preempted others time, and tells again afterwards that it cannot", () => {
  const memory = createMemory();
  memory.startRound(0, all);
  expect([memory.tell("x"), memory.tell("x")]).toEqual([true, false]);
  memory.pause("x");
  expect([memory.isPaused("x"), memory.isPaused("y"), memory.tell("x")]).toEqual([true, false, true]);
  memory.startRound(15_000, all);
  expect(memory.isPaused("x")).toBe(false);
});

test("createMemory() counts an evicted pod as gone until the watch must have told", () => {
  const memory = createMemory();
  memory.startRound(0, all);
  memory.noteEviction("x");
  memory.startRound(29_000, all);
  expect(memory.isEvicted("x")).toBe(true);
  memory.startRound(30_000, all);
  expect(memory.isEvicted("x")).toBe(false);
});

test("createMemory() expects a claim without pods to be released for a minute", () => {
  const memory = createMemory();
  const isExpected = (now: number) => {
    memory.startRound(now, all);
    return memory.isAbandonedRecently("team/c");
  };
  expect([0, 30_000, 59_000, 60_000].map(isExpected)).toEqual([true, true, true, false]);
  memory.startRound(61_000, all); // its pods are back
  expect(isExpected(62_000)).toBe(true);
});
