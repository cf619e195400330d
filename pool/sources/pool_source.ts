import { createLatest } from "../../program/latest.ts";
import { messageOf } from "../../program/log/log.ts";
import { poll } from "../../program/poll.ts";
import type { InventorySource } from "../inventory.ts";
import { loadServersConf } from "../servers/load_servers_conf.ts";
import type { ServerEntry } from "../servers/server_entry.ts";
import type { Token } from "../token/token.ts";
import type { TokenSource } from "../token/token_source.ts";
import { createInventorySource } from "./inventory_source.ts";
import { createServerSource, type ServerSourceOptions } from "./server_source.ts";

export interface PoolSourceOptions extends Omit<ServerSourceOptions, "tls"> {
  token: TokenSource;
}

/**
 * Creates a source that watches the inventory of pool servers. It begins when there is a token; a new token is used for
 * new connections.
 *
 * @param servers a list, or the path of a servers.conf, which is polled for changes.
 */
export function createPoolSource(
  servers: readonly ServerEntry[] | string,
  { token: tokens, ...options }: PoolSourceOptions,
): InventorySource {
  const { interval: period, log } = options;
  const onFailure = (error: unknown) =>
    log.error("Cannot use the list of pool servers: keeping the last valid one", { reason: messageOf(error) });
  return async function* (signal) {
    const ended = new AbortController();
    const untilEnded = AbortSignal.any([signal, ended.signal]);
    const token = createLatest<Token>();
    const followToken = async () => {
      for await (const next of tokens(untilEnded)) token.set(next);
    };
    const following = followToken().catch((error) => ended.abort(error));
    const source = createInventorySource(
      typeof servers === "string"
        ? (signal) => poll(() => loadServersConf(servers), { period, onFailure }, signal)
        : () => [servers],
      createServerSource({ ...options, tls: () => token.current?.tls }),
      log,
      // Heartbeats of servers that die together stop within half an interval; with timeout and grace, a loss is told within two.
      // A server that is back is dialed within a quarter.
      { losses: period * 0.6, returns: period / 4 },
    );
    try {
      for await (const _ of token.changes(untilEnded)) break;
      if (!untilEnded.aborted) yield* source(untilEnded);
      ended.signal.throwIfAborted();
    } finally {
      ended.abort();
      await following;
    }
  };
}
