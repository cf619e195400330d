import { createServer, type Server } from "node:net";
import { getLogger } from "@logtape/logtape";
import type { Logger } from "./log/log.ts";

/** A logger without output: only createLogger() configures sinks. */
export const silentLog: Logger = getLogger("test");

/** Creates a logger that appends "message: reason" to `lines`. */
export function createRecordingLog(lines: string[]): Logger {
  const append = (message: string, { reason }: { reason?: string } = {}) => lines.push(`${message}: ${reason}`);
  const log = { info: append, warn: append, error: append, with: () => log };
  return log as never;
}

/** Returns a TCP port on 127.0.0.1 on which no server listens. */
export async function freePort(): Promise<number> {
  const server = createServer();
  const port = await listen(server);
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Returns a TCP port on 127.0.0.1 on which this process listens until it ends. */
export async function usedPort(): Promise<number> {
  return listen(createServer().unref());
}

async function listen(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (typeof address !== "object" || address === null) throw new Error("No TCP port is free");
  return address.port;
}
