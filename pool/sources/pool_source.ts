import { messageOf } from "../../program/log/log.ts";
import { poll } from "../../program/poll.ts";
import type { InventorySource } from "../inventory.ts";
import { createServerSource, type ServerSourceOptions } from "./server_source.ts";
import { createServersSource } from "./servers_source.ts";

/** The pool as its servers tell it, live. `servers` is host:port of each, or the path of a servers.conf that is followed. */
export function createPoolSource(servers: readonly string[] | string, options: ServerSourceOptions): InventorySource {
  const { interval: period, log } = options;
  const onFailure = (error: unknown) =>
    log.error("Cannot use the list of pool servers: the last good one stays in force", { reason: messageOf(error) });
  return createServersSource(
    typeof servers === "string"
      ? (signal) => poll(() => readConf(servers), { period, onFailure }, signal)
      : () => [servers],
    createServerSource(options),
    log,
  );
}

/** Loaded only where there is such a file: YAML is a quarter of the device plugin's code. */
async function readConf(path: string): Promise<string[]> {
  const { readServersConf } = await import("./servers_conf.ts");
  return readServersConf(path);
}
