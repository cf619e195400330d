#!/usr/bin/env bun
import { createTerminal } from "./output/terminal.ts";
import { runKubectl } from "./run.ts";

const stop = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.on(signal, () => {
    if (stop.signal.aborted) process.exit(130);
    stop.abort(new DOMException(`Received ${signal}`, "AbortError"));
  });
}
// `kubectl bitfusion pool | head` closes the pipe.
process.stdout.on("error", ({ code }: NodeJS.ErrnoException) => process.exit(code === "EPIPE" ? 0 : 1));

const terminal = createTerminal({
  write: (text) => void process.stdout.write(text),
  writeError: (text) => void process.stderr.write(text),
  isInteractive: process.stdout.isTTY === true,
  environment: process.env,
});
const status = await runKubectl(process.argv.slice(2), {
  terminal,
  readInput: () => Bun.stdin.text(),
  now: Date.now,
  signal: stop.signal,
});
// process.exit() would cut off what is still in the pipe.
process.exitCode = status;
if (process.stdout.writableLength === 0) process.exit();
process.stdout.once("drain", () => process.exit());
