import { configureSync, getJsonLinesFormatter, getLogger, type Logger, type Sink } from "@logtape/logtape";
import { createLineOutput } from "./log_output.ts";

export type { Logger };

/**
 * Returns a function that writes lines to standard output, which Bun makes non-blocking when `process.stdout` is first
 * used.
 */
export function createLogOutput(): (line: string) => void {
  return createLineOutput(process.stdout.fd);
}

/** Creates the logger of a program, which writes JSON lines. Call it once per process. */
export function createLogger(program: string, writeLine: (line: string) => void): Logger {
  const format = getJsonLinesFormatter({ properties: "flatten" });
  const stdout: Sink = (record) => writeLine(format(record));
  configureSync({
    reset: true,
    sinks: { stdout },
    loggers: [
      { category: program, sinks: ["stdout"], lowestLevel: "info" },
      { category: ["logtape", "meta"], sinks: ["stdout"], lowestLevel: "warning" },
    ],
  });
  return getLogger(program);
}

/** Returns the message of an error, followed by those of its causes that it does not contain. */
export function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const cause = error.cause === undefined ? "" : messageOf(error.cause);
  return error.message.includes(cause) ? error.message : `${error.message}: ${cause}`;
}
