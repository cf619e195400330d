import { expect, test } from "bun:test";
import { runCommand } from "./command.ts";

const environment = { PATH: process.env.PATH, ANSWER: "42" };

test.each([
  ["the command's status", ["sh", "-c", "exit 7"], 7],
  ["0", ["true"], 0],
  ["the status that the command computes from its environment", ["sh", "-c", "exit $ANSWER"], 42],
  ["128 + n if signal n ends the command", ["sh", "-c", "kill -KILL $$"], 137],
])("runCommand() returns %s", async (_, command, status) => {
  expect(await runCommand(command, { environment, signal: new AbortController().signal })).toBe(status);
});

test("runCommand() ends the command if the signal is aborted before the start or while the command runs", async () => {
  expect(await runCommand(["sleep", "60"], { environment, signal: AbortSignal.abort() })).toBe(143);
  const stop = new AbortController();
  const status = runCommand(["sleep", "60"], { environment, signal: stop.signal });
  stop.abort();
  expect(await status).toBe(143);
});

test("runCommand() removes its signal handlers", async () => {
  const before = process.listenerCount("SIGTERM");
  const running = runCommand(["true"], { environment, signal: new AbortController().signal });
  expect(process.listenerCount("SIGTERM")).toBe(before + 1);
  await running;
  expect(process.listenerCount("SIGTERM")).toBe(before);
});
