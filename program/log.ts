import { configureSync, getJsonLinesFormatter, getLogger, type Logger, type Sink } from "@logtape/logtape";
import { createLineOutput } from "./log_output.ts";

export type { Logger };

/** A logger of the program that writes JSON lines to standard output. Called once, by `main.ts`. */
export function createLogger(program: string): Logger {
  const format = getJsonLinesFormatter({ properties: "flatten" });
  const write = createLineOutput(process.stdout.fd); // Bun makes it non-blocking when it is first looked at
  const stdout: Sink = (record) => write(format(record));
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

/** What to log of something that was thrown: its message and those of its causes, each said once. */
export function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const cause = error.cause === undefined ? "" : messageOf(error.cause);
  return error.message.includes(cause) ? error.message : `${error.message}: ${cause}`;
}
