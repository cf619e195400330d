import type { ServerEntry } from "./server_entry.ts";

/**
 * As readServersConf(), but loads the YAML parser only when it is called: it is a quarter of the device plugin's code.
 *
 * @throws {ConfigError} if the file cannot be read or is invalid.
 */
export async function loadServersConf(path: string): Promise<ServerEntry[]> {
  const { readServersConf } = await import("./servers_conf.ts");
  return readServersConf(path);
}
