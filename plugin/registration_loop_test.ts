import { expect, test } from "bun:test";
import { Counter, Registry } from "prom-client";
import { recordingLog, silentLog } from "../program/testing.ts";
import { keepRegistered } from "./registration_loop.ts";

const registrations = new Counter({
  name: "registrations",
  help: "-",
  labelNames: ["result"],
  registers: [new Registry()],
});
const backoff = { wait: async () => {}, reset() {} };

test("keepRegistered() says each reason for a failure once, until it is another", async () => {
  const stop = new AbortController();
  const failures = ["refused", "refused", "refused", "away", "refused"];
  const lines: string[] = [];
  const attempt = async () => {
    const reason = failures.shift();
    if (reason) throw new Error(reason);
    stop.abort();
    return "It is over";
  };
  await keepRegistered(attempt, { log: recordingLog(lines), registrations, backoff, signal: stop.signal });
  expect(lines).toEqual([
    "Registration failed: refused",
    "Registration failed: away",
    "Registration failed: refused",
    "Registering again: It is over",
  ]);
  expect((await registrations.get()).values).toEqual([{ value: 5, labels: { result: "failed" } }]);
});

test("keepRegistered() waits as ever where it cannot be told when that is worthwhile", async () => {
  const stop = new AbortController();
  let waits = 0;
  const wait = async () => {
    waits += 1;
  };
  const attempt = async () => {
    if (waits === 2) stop.abort();
    return "Again";
  };
  await keepRegistered(attempt, {
    log: silentLog,
    registrations,
    backoff: { wait, reset() {} },
    untilWorthwhile: () => Promise.reject(new Error("No right to look")),
    signal: stop.signal,
  });
  expect(waits).toBe(3);
});
