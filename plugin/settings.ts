import * as v from "valibot";
import { EXPECTED_SERVERS } from "../pool/address.ts";
import { DRIVER } from "../pool/driver.ts";
import { POOL_SETTINGS, serversOf } from "../pool/sources/pool_settings.ts";
import { ConfigError } from "../program/config_error.ts";
import { type Environment, integer, port, readEnvironment, seconds } from "../program/environment.ts";
import type { PoolPart } from "./devices.ts";

export interface PluginSettings {
  /** What the plugin's socket names begin with. */
  readonly socketName: string;
  /** How often a pool server is looked at, in ms. */
  readonly interval: number;
  readonly resourceName: string;
  /** The most units that this node lists. */
  readonly resourceNums?: number;
  /** The part of the pool that this node lists; of index -1 if it is none of the nodes that the pool is split over. */
  readonly part?: PoolPart;
  /** host:port of each pool server, or the path of a servers.conf that names them. If absent nobody is asked, and all units are always healthy. */
  readonly servers?: readonly string[] | string;
  readonly kubeletDirectory: string;
  /** Path of the kubelet's PodResourcesLister. */
  readonly podResourcesSocket: string;
  /** claims: the driver must run; units: it does not. If absent, it runs where an API server is configured. */
  readonly allocation?: "claims" | "units";
  /** Where the kubelet looks for drivers. */
  readonly pluginsRegistryDirectory: string;
  /** For the driver's own sockets. */
  readonly driverDirectory: string;
  /** Where the container runtime looks for what claims add to containers. */
  readonly cdiDirectory: string;
  readonly metricsPort: number;
}

const EXPECTED_SOCKET_NAME = "expected a file name of letters, digits, dots and dashes";
const EXPECTED_RESOURCE_NAME = "expected an extended resource such as bitfusion.io/gpu";

/** Names of nodes, separated by commas: DNS subdomains, none twice. */
function nodeNames() {
  return v.pipe(
    v.string(),
    v.transform((text) => text.split(",").map((name) => name.trim())),
    v.check(
      (names) =>
        names.every((name) => /^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/.test(name)) && new Set(names).size === names.length,
      "expected names of nodes, separated by commas, none twice",
    ),
  );
}

/** The names of the original, and where the pool is. @throws {ConfigError} */
export function readSettings(environment: Environment): PluginSettings {
  const env = readEnvironment(
    {
      SOCKET_NAME: v.optional(v.pipe(v.string(), v.regex(/^[\w.-]{1,40}$/, EXPECTED_SOCKET_NAME)), "bitfusion.io"),
      INTERVAL: v.optional(seconds({ min: 0.1, max: 3600 }), "10"),
      RESOURCE_NAME: v.optional(
        v.pipe(
          v.string(),
          v.regex(/^[a-z0-9]([a-z0-9.-]*[a-z0-9])?\/[A-Za-z0-9]([\w.-]{0,61}[A-Za-z0-9])?$/, EXPECTED_RESOURCE_NAME),
        ),
        "bitfusion.io/gpu",
      ),
      RESOURCE_NUMS: v.optional(integer({ min: 1, max: 100_000 })),
      ...POOL_SETTINGS,
      /** Names of the nodes that the pool is split over. */
      SPLIT_NODES: v.optional(nodeNames()),
      NODE_NAME: v.optional(v.string()),
      KUBELET_DIR: v.optional(v.string(), "/var/lib/kubelet/device-plugins"),
      POD_RESOURCES_SOCKET: v.optional(v.string(), "/var/lib/kubelet/pod-resources/kubelet.sock"),
      ALLOCATION: v.optional(v.picklist(["claims", "units"], "expected claims or units")),
      PLUGINS_REGISTRY_DIR: v.optional(v.string(), "/var/lib/kubelet/plugins_registry"),
      DRIVER_DIR: v.optional(v.string(), `/var/lib/kubelet/plugins/${DRIVER}`),
      CDI_DIR: v.optional(v.string(), "/var/run/cdi"),
      METRICS_PORT: v.optional(port(), "0"),
    },
    environment,
  );
  const servers = serversOf(env);
  if (!servers && env.RESOURCE_NUMS === undefined) {
    throw new ConfigError(
      `Cannot start without POOL_SERVERS: ${EXPECTED_SERVERS}; or set SERVERS_CONF or RESOURCE_NUMS`,
    );
  }
  if (env.SPLIT_NODES && !env.NODE_NAME) {
    throw new ConfigError(`Cannot use SPLIT_NODES="${environment.SPLIT_NODES}" without NODE_NAME: set both or none`);
  }
  const nodes = env.SPLIT_NODES ?? [];
  return {
    socketName: env.SOCKET_NAME,
    interval: env.INTERVAL,
    resourceName: env.RESOURCE_NAME,
    ...(env.RESOURCE_NUMS === undefined ? {} : { resourceNums: env.RESOURCE_NUMS }),
    ...(nodes.length === 0 ? {} : { part: { index: nodes.indexOf(env.NODE_NAME ?? ""), nodes: nodes.length } }),
    ...(servers === undefined ? {} : { servers }),
    kubeletDirectory: env.KUBELET_DIR,
    podResourcesSocket: env.POD_RESOURCES_SOCKET,
    ...(env.ALLOCATION === undefined ? {} : { allocation: env.ALLOCATION }),
    pluginsRegistryDirectory: env.PLUGINS_REGISTRY_DIR,
    driverDirectory: env.DRIVER_DIR,
    cdiDirectory: env.CDI_DIR,
    metricsPort: env.METRICS_PORT,
  };
}
