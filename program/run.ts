import { ConfigError } from "./config_error.ts";
import type { Environment } from "./environment.ts";
import { createLogger, createLogOutput, type Logger } from "./log/log.ts";

export interface ProgramContext {
  readonly environment: Environment;
  readonly log: Logger;
  /** Writes a line to the output of the log. */
  readonly writeLine: (line: string) => void;
  /** Aborted by SIGTERM or SIGINT: end what runs, release what is held, return. */
  readonly signal: AbortSignal;
}

/**
 * Runs a long-lived program until it returns, and exits: 0 when it returned, 2 on a {@link ConfigError}, 1 on anything else.
 * A second signal ends it at once.
 */
export async function runProgram(name: string, main: (context: ProgramContext) => Promise<void>): Promise<never> {
  const stop = new AbortController();
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.on(signal, () => {
      if (stop.signal.aborted) process.exit(1);
      stop.abort(new DOMException(`Received ${signal}`, "AbortError"));
    });
  }
  const writeLine = createLogOutput();
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
