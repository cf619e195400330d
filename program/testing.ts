import type { Logger } from "./log.ts";

/** A logger that keeps "message: reason". */
export function recordingLog(lines: string[]): Logger {
  const keep = (message: string, { reason }: { reason?: string } = {}) => lines.push(`${message}: ${reason}`);
  const log = { info: keep, warn: keep, with: () => log };
  return log as never;
}
