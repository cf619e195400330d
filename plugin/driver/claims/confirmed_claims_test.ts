import { expect, test } from "bun:test";
import { createConfirmedClaims } from "./confirmed_claims.ts";

const CLAIM = { namespace: "team", name: "train" };
const OTHER = { namespace: "team", name: "other" };

/** Claims with a limit of one second, whose clock and API server are the test's. */
function start() {
  const state = { time: 5000, answers: true };
  const readClaim = async () => {
    if (!state.answers) throw new Error("Unreachable");
    return undefined;
  };
  const claims = createConfirmedClaims({ readClaim, limit: 1000, now: () => state.time });
  const read = (claim = CLAIM) => claims.readClaim(claim, AbortSignal.timeout(1000)).catch(() => {});
  return { ...claims, state, read };
}

test("a claim is confirmed for the limit after each answer about it, and at first for as long after the start", async () => {
  const { state, read, isConfirmed } = start();
  state.time += 1000;
  expect(isConfirmed(CLAIM)).toBe(true);
  state.time += 1;
  expect(isConfirmed(CLAIM)).toBe(false);
  await read();
  state.time += 1000;
  expect(isConfirmed(CLAIM)).toBe(true);
  state.time += 1;
  expect(isConfirmed(CLAIM)).toBe(false);
});

test("neither a failed read nor an answer about another claim confirms a claim", async () => {
  const { state, read, isConfirmed } = start();
  state.time += 1001;
  await read(OTHER);
  state.answers = false;
  await read();
  expect([isConfirmed(CLAIM), isConfirmed(OTHER)]).toEqual([false, true]);
});
