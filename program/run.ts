import { ConfigError } from "./config_error.ts";
import type { Environment } from "./environment.ts";
import { createLogger, createLogOutput, type Logger } from "./log/log.ts";

export interface ProgramContext {
  readonly environment: Environment;
  readonly log: Logger;
  /** Writes a line to the log output. */
  readonly writeLine: (line: string) => void;
  /** Aborted on SIGTERM or SIGINT. The program then stops its work, releases its resources and returns. */
  readonly signal: AbortSignal;
}

/**
 * Runs a program until `main` returns, then exits the process: with 0, with 2 on a {@link ConfigError}, with 1 on any
 * other error. A second signal exits with 1 immediately.
 */
export async function runProgram(name: string, main: (context: ProgramContext) => Promise<void>): Promise<never> {
  const stop = new AbortController();
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.on(signal, () => {
      if (stop.signal.aborted) process.exit(1);
      stop.abort(new DOMException(`Received ${signal}`, "AbortError"));
    });
  }
  const writeLine = createLogOutput(name);
  const log = createLogger(name, writeLine);
  try {
    await main({ environment: process.env, log, writeLine, signal: stop.signal });
    process.exit(0);
  } catch (error) {
    if (error instanceof ConfigError) {
      process.stderr.write(`${name}: ${error.message}\n`);
      process.exit(2);
    }
    log.fatal("Program failed", { error });
    process.exit(1);
  }
}
