import { readdir, rm } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { ConfigError } from "../../program/config_error.ts";

/** Longest path of a unix socket in bytes: sizeof(sun_path) without the final NUL (unix(7)). */
const MAX_SOCKET_PATH = 107;

/** A socket name that no other instance uses: an instance that ends late cannot remove the socket of its successor. */
export function uniqueSocketName(prefix: string): string {
  return `${prefix}-${crypto.randomUUID().slice(0, 8)}.sock`;
}

/**
 * Checks that a directory leaves room for the names of sockets.
 *
 * @param variable the setting that names the directory
 * @throws {ConfigError} if the path of a socket would be too long.
 */
export function checkSocketDirectory(variable: string, directory: string, prefix: string): void {
  const length = Buffer.byteLength(join(directory, uniqueSocketName(prefix)));
  if (length <= MAX_SOCKET_PATH) return;
  throw new ConfigError(
    `Cannot use ${variable}="${directory}": the path of a socket would have ${length} bytes, expected at most ${MAX_SOCKET_PATH}`,
  );
}

/** Removes sockets with this prefix that nobody listens on: instances that were killed left them behind. */
export async function removeStaleSockets(directory: string, prefix: string): Promise<void> {
  for (const name of await readdir(directory)) {
    if (!name.startsWith(`${prefix}-`) || !name.endsWith(".sock")) continue;
    const path = join(directory, name);
    if (await refusesConnections(path)) await rm(path, { force: true });
  }
}

function refusesConnections(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once("connect", () => {
      socket.destroy();
      resolve(false);
    });
    socket.once("error", (error: NodeJS.ErrnoException) => resolve(error.code === "ECONNREFUSED"));
  });
}
