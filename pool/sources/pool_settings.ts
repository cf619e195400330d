import * as v from "valibot";
import { ConfigError } from "../../program/config_error.ts";
import { poolServers } from "../address.ts";

/** Variables of a program that say where the pool is. */
export const POOL_SETTINGS = {
  POOL_SERVERS: v.optional(poolServers()),
  /** Path of a token's servers.conf. */
  SERVERS_CONF: v.optional(v.string()),
};

/**
 * The servers that {@link POOL_SETTINGS} name: host:port of each, or the path of a servers.conf; undefined if none are named.
 *
 * @throws {ConfigError} when both are set.
 */
export function serversOf({
  POOL_SERVERS,
  SERVERS_CONF,
}: v.InferOutput<v.ObjectSchema<typeof POOL_SETTINGS, undefined>>): readonly string[] | string | undefined {
  if (!POOL_SERVERS || !SERVERS_CONF) return POOL_SERVERS ?? SERVERS_CONF;
  throw new ConfigError(
    `Cannot use both POOL_SERVERS="${POOL_SERVERS.join(",")}" and SERVERS_CONF="${SERVERS_CONF}": set one`,
  );
}
