import * as v from "valibot";
import { ConfigError } from "../../program/config_error.ts";
import { setting } from "../../program/environment.ts";
import { poolServers, type ServerEntry } from "./server_entry.ts";

/** The folder of the pool's token. */
export const POOL_TOKEN = setting(
  v.optional(v.string()),
  "Folder with the pool's token: `ca.crt` and `client.yaml`, which are read again when they change. Default: the Secret `bitfusion-secret` in `kube-system`. `none`: the servers have another protocol and no token",
);

/** Settings that name the pool servers, of which at most one may be set, and the pool's token. */
export const POOL_SETTINGS = {
  POOL_SERVERS: setting(
    v.optional(poolServers()),
    "The pool servers: a comma-separated list of `host:port`. With claims, a server that only some nodes reach is followed by their labels: `server-a:56001 topology.kubernetes.io/zone=a`",
  ),
  SERVERS_CONF: setting(
    v.optional(v.string()),
    "Instead of `POOL_SERVERS`: path of the `servers.conf` of a token, which is read again when it changes",
  ),
  POOL_TOKEN,
};

/**
 * Returns the pool servers of {@link POOL_SETTINGS}: a list, or the path of a servers.conf. Undefined if
 * neither is set.
 *
 * @throws {ConfigError} if both are set.
 */
export function serversOf({
  POOL_SERVERS,
  SERVERS_CONF,
}: Omit<v.InferOutput<v.ObjectSchema<typeof POOL_SETTINGS, undefined>>, "POOL_TOKEN">):
  | readonly ServerEntry[]
  | string
  | undefined {
  if (!POOL_SERVERS || !SERVERS_CONF) return POOL_SERVERS ?? SERVERS_CONF;
  throw new ConfigError(
    `Cannot use both POOL_SERVERS="${POOL_SERVERS.map(({ address }) => address).join(",")}" and SERVERS_CONF="${SERVERS_CONF}": set one`,
  );
}
