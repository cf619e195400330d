import { createServer } from "node:net";
import { getLogger } from "@logtape/logtape";
import type { Logger } from "./log/log.ts";

/** A logger without output: only programs configure logging. */
export const silentLog: Logger = getLogger("test");

/** A logger that appends "message: reason" to `lines`. */
export function recordingLog(lines: string[]): Logger {
  const keep = (message: string, { reason }: { reason?: string } = {}) => lines.push(`${message}: ${reason}`);
  const log = { info: keep, warn: keep, error: keep, with: () => log };
  return log as never;
}

/** A TCP port on which nothing listens. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (typeof address !== "object" || address === null) throw new Error("No TCP port is free");
  return address.port;
}
