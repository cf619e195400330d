import { expect, test } from "bun:test";
import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { runCommand } from "./command.ts";

const environment = { PATH: process.env.PATH, ANSWER: "42" };
const endBy = () => performance.now() + 60_000;

test.each([
  ["the command's status", ["sh", "-c", "exit 7"], 7],
  ["0", ["true"], 0],
  ["the status that the command computes from its environment", ["sh", "-c", "exit $ANSWER"], 42],
  ["128 + n if signal n ends the command", ["sh", "-c", "kill -KILL $$"], 137],
])("runCommand() returns %s", async (_, command, status) => {
  expect(await runCommand(command, { environment, endBy, signal: new AbortController().signal })).toBe(status);
});

test("runCommand() ends the command if the signal is aborted before the start or while the command runs", async () => {
  expect(await runCommand(["sleep", "60"], { environment, endBy, signal: AbortSignal.abort() })).toBe(143);
  const stop = new AbortController();
  const status = runCommand(["sleep", "60"], { environment, endBy, signal: stop.signal });
  stop.abort();
  expect(await status).toBe(143);
});

test("runCommand() ends a command that ignores SIGTERM by SIGKILL, not later than it must have ended", async () => {
  const stop = new AbortController();
  await using listener = await listen();
  const status = runCommand(["bash", "-c", `trap "" TERM; exec 3<>/dev/tcp/127.0.0.1/${listener.port}; read <&3`], {
    environment,
    endBy: () => performance.now() + 100,
    signal: stop.signal,
  });
  await listener.accepted;
  const start = performance.now();
  stop.abort();
  expect(await status).toBe(137);
  expect(performance.now() - start).toBeGreaterThanOrEqual(99);
});

test("runCommand() removes its signal handlers", async () => {
  const before = process.listenerCount("SIGTERM");
  const running = runCommand(["true"], { environment, endBy, signal: new AbortController().signal });
  expect(process.listenerCount("SIGTERM")).toBe(before + 1);
  await running;
  expect(process.listenerCount("SIGTERM")).toBe(before);
});

/** Listens for one connection. */
async function listen() {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const accepted = once(server, "connection").then(([socket]: Socket[]) => socket?.on("error", () => {}));
  return {
    port: (server.address() as AddressInfo).port,
    accepted,
    async [Symbol.asyncDispose]() {
      (await accepted)?.destroy();
      server.close();
    },
  };
}
