import * as v from "valibot";
import { ConfigError } from "../../program/config_error.ts";
import { setting } from "../../program/environment.ts";
import { poolServers } from "../address.ts";

/** Settings that name the pool servers. Set at most one of them. */
export const POOL_SETTINGS = {
  POOL_SERVERS: setting(v.optional(poolServers()), "The pool servers: a comma-separated list of `host:port`"),
  SERVERS_CONF: setting(
    v.optional(v.string()),
    "Instead of `POOL_SERVERS`: path of the `servers.conf` of a token, which is read again when it changes",
  ),
};

/**
 * Returns the pool servers of {@link POOL_SETTINGS}: a list of host:port, or the path of a servers.conf. Undefined if
 * neither is set.
 *
 * @throws {ConfigError} if both are set.
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
