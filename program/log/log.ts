import { configureSync, getJsonLinesFormatter, getLogger, type Logger, type Sink } from "@logtape/logtape";
import { shorten } from "../text/quote.ts";
import { createLineOutput } from "./log_output.ts";

export type { Logger };

const format = getJsonLinesFormatter({ properties: "flatten" });

/**
 * Returns a function that writes lines to standard output, which Bun makes non-blocking when `process.stdout` is first
 * used. A line of the program's log tells how many were dropped because the reader was too slow.
 */
export function createLogOutput(program: string): (line: string) => void {
  return createLineOutput(process.stdout.fd, (dropped) =>
    format({
      category: [program],
      level: "warning",
      message: ["Log lines were dropped: their reader is too slow"],
      rawMessage: "",
      timestamp: Date.now(),
      properties: { dropped },
    }),
  );
}

/** Longest text in a log line, in characters: a tenant or a server may have chosen it. */
export const MAX_LOG_TEXT = 2048;

/**
 * Creates the logger of a program, which writes JSON lines. Control characters are escaped, and texts of absurd length are shortened. Call
 * it once per process.
 */
export function createLogger(program: string, writeLine: (line: string) => void): Logger {
  const stdout: Sink = (record) =>
    writeLine(format({ ...record, message: record.message.map(bounded), properties: boundedAll(record.properties) }));
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

function boundedAll(properties: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(properties).map(([key, value]) => [key, bounded(value)]));
}

function bounded(value: unknown): unknown {
  return typeof value === "string" ? shorten(value, MAX_LOG_TEXT) : value;
}

/** Returns the message of an error, followed by those of its causes that it does not contain. */
export function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const cause = error.cause === undefined ? "" : messageOf(error.cause);
  return error.message.includes(cause) ? error.message : `${error.message}: ${cause}`;
}
