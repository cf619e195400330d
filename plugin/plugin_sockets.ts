import { readdir, rm } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { ConfigError } from "../program/config_error.ts";

/** sizeof(sun_path) less the final NUL: unix(7). */
const LONGEST_SOCKET_PATH = 107;

/** A name that no socket of any instance has had: one that ends late can then take nothing from another. */
export function freshSocketName(prefix: string): string {
  return `${prefix}-${crypto.randomUUID().slice(0, 8)}.sock`;
}

/** @throws {ConfigError} when the directory, which `variable` names, is too long for a socket's path. */
export function checkSocketDirectory(variable: string, directory: string, prefix: string): void {
  const longest = Buffer.byteLength(join(directory, freshSocketName(prefix)));
  if (longest <= LONGEST_SOCKET_PATH) return;
  throw new ConfigError(
    `Cannot use ${variable}="${directory}": a socket's path there has ${longest} bytes, at most ${LONGEST_SOCKET_PATH} are possible`,
  );
}

/** Removes what instances left behind that were killed: sockets of ours where nobody listens. */
export async function removeStaleSockets(directory: string, prefix: string): Promise<void> {
  for (const name of await readdir(directory)) {
    if (!name.startsWith(`${prefix}-`) || !name.endsWith(".sock")) continue;
    const path = join(directory, name);
    if (await refuses(path)) await rm(path, { force: true });
  }
}

function refuses(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once("connect", () => {
      socket.destroy();
      resolve(false);
    });
    socket.once("error", (error: NodeJS.ErrnoException) => resolve(error.code === "ECONNREFUSED"));
  });
}
