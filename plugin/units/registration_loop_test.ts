import { expect, test } from "bun:test";
import { Counter, Registry } from "prom-client";
import { createRecordingLog, silentLog } from "../../program/testing.ts";
import { keepRegistered } from "./registration_loop.ts";

const registrations = new Counter({
  name: "registrations",
  help: "-",
  labelNames: ["result"],
  registers: [new Registry()],
});
const backoff = { wait: async () => {}, reset() {} };

test("keepRegistered() logs a failure again only when its reason changes", async () => {
  const stop = new AbortController();
  const failures = ["refused", "refused", "refused", "unreachable", "refused"];
  const lines: string[] = [];
  const attempt = async () => {
    const reason = failures.shift();
    if (reason) throw new Error(reason);
    stop.abort();
    return "The stream ended";
  };
  await keepRegistered(attempt, { log: createRecordingLog(lines), registrations, backoff, signal: stop.signal });
  expect(lines).toEqual([
    "Registration failed: refused",
    "Registration failed: unreachable",
    "Registration failed: refused",
    "Registering again: The stream ended",
  ]);
  expect((await registrations.get()).values).toEqual([{ value: 5, labels: { result: "failed" } }]);
});

test("keepRegistered() waits for the backoff if untilWorthwhile() fails", async () => {
  const stop = new AbortController();
  let waits = 0;
  const wait = async () => {
    waits += 1;
  };
  const attempt = async () => {
    if (waits === 2) stop.abort();
    return "The stream ended";
  };
  await keepRegistered(attempt, {
    log: silentLog,
    registrations,
    backoff: { wait, reset() {} },
    untilWorthwhile: () => Promise.reject(new Error("Permission denied")),
    signal: stop.signal,
  });
  expect(waits).toBe(3);
});
