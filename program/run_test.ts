import { expect, test } from "bun:test";
import { join } from "node:path";

const PRELUDE = ["config_error.ts", "run.ts"]
  .map((name) => `import * as ${name.split(".")[0]} from ${JSON.stringify(join(import.meta.dir, name))};`)
  .join("\n");

/** Starts a process that runs `main`, the source of a function, as the program "fixture". */
function start(main: string) {
  return Bun.spawn([process.execPath, "-e", `${PRELUDE}\nawait run.runProgram("fixture", ${main});`], {
    env: { PATH: process.env.PATH, GREETING: "hello" },
    stdio: ["ignore", "pipe", "pipe"],
  });
}

/** Runs `main`. Returns the exit status and output of the process. */
async function runToEnd(main: string) {
  await using child = start(main);
  const [status, stdout, stderr] = await Promise.all([child.exited, child.stdout.text(), child.stderr.text()]);
  return { status, stdout, stderr };
}

test.concurrent("runProgram() passes the environment, and exits with 0 when the program returns", async () => {
  const { status, stdout } = await runToEnd(`async ({ environment, log }) => log.info(environment.GREETING)`);
  expect(status).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({ level: "INFO", message: "hello", logger: "fixture" });
});

test.concurrent("runProgram() prints a ConfigError in one line and exits with 2", async () => {
  const main = `async () => { throw new config_error.ConfigError("Cannot use A=1: expected 2"); }`;
  expect(await runToEnd(main)).toEqual({ status: 2, stdout: "", stderr: "fixture: Cannot use A=1: expected 2\n" });
});

test.concurrent("runProgram() logs an unexpected error with its cause as JSON and exits with 1", async () => {
  const main = `async () => { throw new Error("a", { cause: new Error("b") }); }`;
  const { status, stdout, stderr } = await runToEnd(main);
  expect({ status, stderr }).toEqual({ status: 1, stderr: "" });
  expect(JSON.parse(stdout)).toMatchObject({
    level: "FATAL",
    message: "Program failed",
    error: { message: "a", stack: expect.stringContaining("Error: a"), cause: { message: "b" } },
  });
});

test.concurrent.each(["SIGTERM", "SIGINT"] as const)(
  "runProgram() aborts the signal on %s, and exits with 0 when the program returns",
  async (name) => {
    await using child = start(`async ({ log, signal }) => {
      const aborted = new Promise((resolve) => signal.addEventListener("abort", resolve));
      const timer = setInterval(() => {}, 1000);
      log.info("ready");
      await aborted;
      clearInterval(timer);
      log.info(signal.reason.message);
    }`);
    const messages: string[] = [];
    for await (const message of messagesOf(child.stdout)) {
      messages.push(message);
      if (message === "ready") child.kill(name);
    }
    expect(messages).toEqual(["ready", `Received ${name}`]);
    expect(await child.exited).toBe(0);
  },
);

test.concurrent("runProgram() exits immediately on a second signal", async () => {
  await using child = start(`async ({ log, signal }) => {
    signal.addEventListener("abort", () => log.info("aborted"));
    setInterval(() => {}, 1000);
    log.info("ready");
    await new Promise(() => {});
  }`);
  for await (const _ of messagesOf(child.stdout)) child.kill("SIGTERM");
  expect(await child.exited).toBe(1);
});

/** Yields the message of each log line. */
async function* messagesOf(stream: ReadableStream<Uint8Array<ArrayBuffer>>): AsyncGenerator<string> {
  let text = "";
  for await (const chunk of stream.pipeThrough(new TextDecoderStream())) {
    text += chunk;
    const lines = text.split("\n");
    text = lines.pop() ?? "";
    for (const line of lines) yield JSON.parse(line).message;
  }
}
