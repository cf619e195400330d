import { ConfigError } from "../config_error.ts";

/** Why a port or a Unix socket cannot be opened, by the code of the error (listen(2), bind(2)). */
const REASONS: Readonly<Record<string, string>> = {
  EADDRINUSE: "it is in use",
  EACCES: "permission denied",
  EADDRNOTAVAIL: "the machine does not have this address",
  ENOENT: "its folder does not exist",
};

/**
 * Opens a port, or the path of a Unix socket, that a setting names.
 *
 * @param setting name of the variable, such as PORT
 * @throws {ConfigError} names the setting and its value if another program uses the port, or the user may not.
 */
export async function listenOn<T>(setting: string, address: number | string, open: () => T | Promise<T>): Promise<T> {
  try {
    return await open();
  } catch (error) {
    const reason = REASONS[(error as NodeJS.ErrnoException).code ?? ""];
    throw reason === undefined ? error : new ConfigError(`Cannot listen on ${setting}="${address}": ${reason}`);
  }
}
