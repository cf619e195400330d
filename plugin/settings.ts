import { hostname } from "node:os";
import * as v from "valibot";
import { type Allocation, allocation } from "../pool/allocation/allocation.ts";
import { DRIVER } from "../pool/driver.ts";
import { POOL_SETTINGS, serversOf } from "../pool/servers/pool_settings.ts";
import { EXPECTED_SERVERS, type ServerEntry } from "../pool/servers/server_entry.ts";
import { ConfigError } from "../program/config_error.ts";
import {
  type Environment,
  integer,
  milliseconds,
  port,
  readEnvironment,
  seconds,
  setting,
} from "../program/environment.ts";
import type { PoolPart } from "./units/devices.ts";

export interface PluginSettings {
  readonly socketName: string;
  /** In ms. */
  readonly interval: number;
  readonly resourceName: string;
  /** The most units that this node lists. */
  readonly resourceNums?: number;
  /** The part of the pool that this node lists. Index -1 if the pool is split over other nodes only. */
  readonly part?: PoolPart;
  /** The pool servers, or the path of a servers.conf. Undefined: all units are always healthy. */
  readonly servers?: readonly ServerEntry[] | string;
  /** The folder of the pool's token. Undefined: it is in the Secret. */
  readonly tokenFolder?: string;
  readonly kubeletDirectory: string;
  readonly podResourcesSocket: string;
  readonly allocation: Allocation;
  readonly pluginsRegistryDirectory: string;
  readonly driverDirectory: string;
  readonly cdiDirectory: string;
  readonly nodeName: string;
  /** How long the driver renews the leases of a claim without an answer from the API server about it, in ms. */
  readonly outageTime: number;
  /** The round trip to a pool server above which the driver warns the pods that use it, in ms. 0: never. */
  readonly slowRoundTrip: number;
  readonly metricsPort: number;
}

const EXPECTED_SOCKET_NAME = "expected a file name of letters, digits, dots and dashes";
const EXPECTED_RESOURCE_NAME = "expected an extended resource such as bitfusion.io/gpu";

/** Names of nodes, separated by commas: DNS subdomains without duplicates. */
function nodeNames() {
  return v.pipe(
    v.string(),
    v.transform((text) => text.split(",").map((name) => name.trim())),
    v.check(
      (names) =>
        names.every((name) => /^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/.test(name)) && new Set(names).size === names.length,
      "expected names of nodes, separated by commas, without duplicates",
    ),
  );
}

/** The variables of the device plugin. SOCKET_NAME, INTERVAL, RESOURCE_NAME and RESOURCE_NUMS are those of the original. */
export const SETTINGS = {
  ...POOL_SETTINGS,
  RESOURCE_NUMS: setting(
    v.optional(integer({ min: 1, max: 100_000 })),
    "With units. Without pool servers: the number of units of this node, which are always healthy. With servers that report their GPUs: the most units that this node lists. With a token for another protocol, such as that of Bitfusion's own servers: the units that the servers share. At most 100000",
  ),
  INTERVAL: setting(
    v.optional(seconds({ min: 0.1, max: 3600 }), "10"),
    "With units. Seconds between two checks of a pool server. A failure is noticed within two of them",
  ),
  SPLIT_NODES: setting(
    v.optional(nodeNames()),
    "With units. Names of nodes, separated by commas: each of them lists its part of the pool only",
  ),
  NODE_NAME: setting(
    v.optional(v.string()),
    "Name of this node, for `SPLIT_NODES` and the leases of its pods. Default, without `SPLIT_NODES`: the host name",
  ),
  ALLOCATION: setting(
    allocation(),
    "`claims`: only the driver runs. `units`: the device plugin runs, and the driver, too, for the claims that pods hold after a change from `claims`, if the kubelet supports it and a service account or `KUBECONFIG` exists",
  ),
  RESOURCE_NAME: setting(
    v.optional(
      v.pipe(
        v.string(),
        v.regex(/^[a-z0-9]([a-z0-9.-]*[a-z0-9])?\/[A-Za-z0-9]([\w.-]{0,61}[A-Za-z0-9])?$/, EXPECTED_RESOURCE_NAME),
      ),
      "bitfusion.io/gpu",
    ),
    "The extended resource that the device plugin advertises, with units",
  ),
  SOCKET_NAME: setting(
    v.optional(v.pipe(v.string(), v.regex(/^[\w.-]{1,40}$/, EXPECTED_SOCKET_NAME)), "bitfusion.io"),
    "With units. Prefix of the names of the plugin's sockets",
  ),
  KUBELET_DIR: setting(
    v.optional(v.string(), "/var/lib/kubelet/device-plugins"),
    "With units. The kubelet's directory of device plugins",
  ),
  POD_RESOURCES_SOCKET: setting(
    v.optional(v.string(), "/var/lib/kubelet/pod-resources/kubelet.sock"),
    "The kubelet's socket that reports who holds units of a device plugin",
  ),
  PLUGINS_REGISTRY_DIR: setting(
    v.optional(v.string(), "/var/lib/kubelet/plugins_registry"),
    "The directory in which the kubelet looks for drivers",
  ),
  DRIVER_DIR: setting(
    v.optional(v.string(), `/var/lib/kubelet/plugins/${DRIVER}`),
    "The directory of the driver's own sockets and of the leases of claims. The kubelet and the container runtime must see it at the same path",
  ),
  CDI_DIR: setting(
    v.optional(v.string(), "/var/run/cdi"),
    "The directory in which the container runtime looks for CDI files",
  ),
  API_OUTAGE_TIME: setting(
    v.optional(seconds({ min: 0.1, max: 604_800 }), "3600"),
    "Seconds for which the driver renews the leases of a claim without an answer from the API server about it. After them, the pod loses its GPUs until there is an answer. An upgrade of the API server must not take longer; a node that is cut off from it holds its GPUs for as long",
  ),
  SLOW_ROUND_TRIP: setting(
    v.optional(milliseconds({ min: 0, max: 900 }), "2"),
    "With claims. Milliseconds: where the round trip from this node to a pool server takes longer, the driver warns the pods that use its GPUs by an event. 0: never",
  ),
  METRICS_PORT: setting(v.optional(port(), "0"), "Port of `/livez`, `/readyz` and `/metrics`; 0 for any free one"),
};

/** @throws {ConfigError} */
export function readSettings(environment: Environment): PluginSettings {
  const env = readEnvironment(SETTINGS, environment);
  const servers = serversOf(env);
  if (env.ALLOCATION === "units" && !servers && env.RESOURCE_NUMS === undefined) {
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
    ...(env.POOL_TOKEN === undefined ? {} : { tokenFolder: env.POOL_TOKEN }),
    kubeletDirectory: env.KUBELET_DIR,
    podResourcesSocket: env.POD_RESOURCES_SOCKET,
    allocation: env.ALLOCATION,
    pluginsRegistryDirectory: env.PLUGINS_REGISTRY_DIR,
    driverDirectory: env.DRIVER_DIR,
    cdiDirectory: env.CDI_DIR,
    nodeName: env.NODE_NAME ?? hostname(),
    outageTime: env.API_OUTAGE_TIME,
    slowRoundTrip: env.SLOW_ROUND_TRIP,
    metricsPort: env.METRICS_PORT,
  };
}
