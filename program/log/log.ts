import { configureSync, getLogger, type Logger, type LogRecord, type Sink } from "@logtape/logtape";
import { formatLine } from "./log_line.ts";
import { createLineOutput } from "./log_output.ts";

export type { Logger };

/** Tells the library that the sink keeps no record, so that it need not copy each. */
const READS_AT_ONCE = { [Symbol.for("LogTape.sinkSnapshotPolicy.immediate")]: true };

/** A logger of the program that writes JSON lines to standard output. Called once, by `main.ts`. */
export function createLogger(program: string): Logger {
  const writeLine = createLineOutput(process.stdout.fd); // Bun makes it non-blocking when it is first looked at
  write = (record) => writeLine(formatLine(record));
  const stdout: Sink = Object.assign(write, READS_AT_ONCE);
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

/** Writes a record of the program; nothing before it logs, nor in tests. */
let write: (record: LogRecord) => void = () => {};

/**
 * `log.info` for what is logged thousands of times a second, past the library: its look for scopes, filters and sinks, of which the program
 * has one, and its accessors for properties that are computed later took 7 µs of each review.
 */
export function logInfo({ category }: Logger, message: string, properties: Record<string, unknown>): void {
  write({ category, level: "info", message: [message], rawMessage: message, timestamp: Date.now(), properties });
}

/** What to log of something that was thrown: its message and those of its causes, each said once. */
export function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const cause = error.cause === undefined ? "" : messageOf(error.cause);
  return error.message.includes(cause) ? error.message : `${error.message}: ${cause}`;
}
