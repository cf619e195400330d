import { ConfigError } from "./config_error.ts";
import type { Environment } from "./environment.ts";
import { createLogger, type Logger } from "./log/log.ts";

export interface ProgramContext {
  readonly environment: Environment;
  readonly log: Logger;
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
  const log = createLogger(name);
  try {
    await main({ environment: process.env, log, signal: stop.signal });
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
