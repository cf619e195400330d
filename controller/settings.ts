import { hostname } from "node:os";
import * as v from "valibot";
import { type Allocation, allocation } from "../pool/allocation/allocation.ts";
import { POOL_SETTINGS, serversOf } from "../pool/servers/pool_settings.ts";
import type { ServerEntry } from "../pool/servers/server_entry.ts";
import { type Environment, port, readEnvironment, seconds, setting } from "../program/environment.ts";

export interface ControllerSettings {
  /** The pool servers, or the path of a servers.conf. Undefined: nothing is published, and GPUs that already are get no new pods. */
  readonly servers?: readonly ServerEntry[] | string;
  /** The folder of the pool's token. Undefined: it is in the Secret. */
  readonly tokenFolder?: string;
  readonly allocation: Allocation;
  /** In ms. */
  readonly interval: number;
  /** How long a GPU may have a problem before the pods that hold it are evicted, in ms. Undefined: pods are never evicted. */
  readonly evictAfter?: number;
  /** Whether pods of lower priority are evicted for pods that wait for units. */
  readonly preemption: boolean;
  readonly metricsPort: number;
  /** Namespace of the Lease. */
  readonly namespace: string;
  /** Namespace of the driver's pods. */
  readonly driverNamespace: string;
  /** Unique identity of this replica in the Lease. */
  readonly identity: string;
}

/** In seconds. */
const YEAR = 31_536_000;

/** The variables of the controller. */
export const SETTINGS = {
  ...POOL_SETTINGS,
  ALLOCATION: setting(
    allocation(),
    "`claims`: the pool is published. `units`: nothing is published, and what was published before is removed; pods that run keep what they hold",
  ),
  INTERVAL: setting(
    v.optional(seconds({ min: 0.1, max: 3600 }), "10"),
    "Seconds between two checks of a pool server. A failure is noticed within two of them",
  ),
  EVICT_AFTER: setting(
    v.optional(
      v.union([v.literal("never"), seconds({ min: 0, max: YEAR })], `expected never, or seconds from 0 to ${YEAR}`),
      "300",
    ),
    "Seconds that a GPU may be unreachable or unhealthy before the pods that hold it are evicted, or `never`",
  ),
  PREEMPTION: setting(
    v.optional(v.picklist(["on", "off"], "expected on or off"), "on"),
    "`on`: pods that wait for units preempt pods of lower priority that hold them. `off`: no pod is evicted for another",
  ),
  METRICS_PORT: setting(v.optional(port(), "0"), "Port of `/livez`, `/readyz` and `/metrics`; 0 for any free one"),
  POD_NAMESPACE: setting(
    v.optional(v.string(), "bitfusion-system"),
    "Namespace of the controller: it has the Lease, and owns the ResourceSlices",
  ),
  DRIVER_NAMESPACE: setting(v.optional(v.string(), "bitfusion-node"), "Namespace of the device plugin and driver"),
  POD_NAME: setting(v.optional(v.string()), "Name of the replica in the Lease. Default: the host name"),
};

/** @throws {ConfigError} */
export function readSettings(environment: Environment): ControllerSettings {
  const env = readEnvironment(SETTINGS, environment);
  const servers = serversOf(env);
  const suffix = crypto.randomUUID().slice(0, 8); // a replica that was killed differs from the one that replaces it
  return {
    ...(servers === undefined ? {} : { servers }),
    ...(env.POOL_TOKEN === undefined ? {} : { tokenFolder: env.POOL_TOKEN }),
    allocation: env.ALLOCATION,
    interval: env.INTERVAL,
    ...(env.EVICT_AFTER === "never" ? {} : { evictAfter: env.EVICT_AFTER }),
    preemption: env.PREEMPTION === "on",
    metricsPort: env.METRICS_PORT,
    namespace: env.POD_NAMESPACE,
    driverNamespace: env.DRIVER_NAMESPACE,
    identity: `${env.POD_NAME ?? hostname()}_${suffix}`,
  };
}
