import { messageOf } from "../../program/log/log.ts";
import { poll } from "../../program/poll.ts";
import type { InventorySource } from "../inventory.ts";
import { createInventorySource } from "./inventory_source.ts";
import { createServerSource, type ServerSourceOptions } from "./server_source.ts";

/**
 * Creates a source that watches the inventory of pool servers.
 *
 * @param servers a list of host:port, or the path of a servers.conf, which is polled for changes.
 */
export function createPoolSource(servers: readonly string[] | string, options: ServerSourceOptions): InventorySource {
  const { interval: period, log } = options;
  const onFailure = (error: unknown) =>
    log.error("Cannot use the list of pool servers: keeping the last valid one", { reason: messageOf(error) });
  return createInventorySource(
    typeof servers === "string"
      ? (signal) => poll(() => readConf(servers), { period, onFailure }, signal)
      : () => [servers],
    createServerSource(options),
    log,
  );
}

/** Loads the YAML parser only if there is a servers.conf: it is a quarter of the device plugin's code. */
async function readConf(path: string): Promise<string[]> {
  const { readServersConf } = await import("./servers_conf.ts");
  return readServersConf(path);
}
