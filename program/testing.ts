import { rmSync } from "node:fs";
import { mkdtemp } from "node:fs/promises";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
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

/**
 * Returns a TCP port on 127.0.0.1 on which no server listens. It is below the ports that the system gives to connections and to servers
 * that ask for any port (32768 and above on Linux), so that none of them takes it meanwhile.
 */
export async function freePort(): Promise<number> {
  for (let attempt = 0; attempt < 100; attempt++) {
    const server = createServer();
    const port = await listen(server, 10_000 + Math.floor(Math.random() * 20_000)).catch(() => undefined);
    await new Promise((resolve) => server.close(resolve));
    if (port !== undefined) return port;
  }
  throw new Error("No TCP port is free");
}

/** Returns a TCP port on 127.0.0.1 on which this process listens until it ends. */
export async function usedPort(): Promise<number> {
  return listen(createServer().unref());
}

async function listen(server: Server, requested = 0): Promise<number> {
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(requested, "127.0.0.1", resolve);
  });
  const address = server.address();
  if (typeof address !== "object" || address === null) throw new Error("No TCP port is free");
  return address.port;
}

/**
 * Bundles a program into one minified file in a temporary folder, as in its image: it starts in half the time. Returns the path of the file.
 * The folder is removed when the tests of the process have ended.
 *
 * @param source path of the program from the root of the repository, such as `client/main.ts`
 */
export async function bundle(source: string): Promise<string> {
  const outdir = await mkdtemp(join(tmpdir(), "bundle-"));
  process.once("exit", () => rmSync(outdir, { recursive: true, force: true }));
  const entrypoint = join(import.meta.dir, "..", source);
  await Bun.build({ entrypoints: [entrypoint], outdir, target: "bun", minify: true });
  return join(outdir, "main.js");
}
