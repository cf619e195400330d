import { hostname } from "node:os";
import * as v from "valibot";
import { POOL_SETTINGS, serversOf } from "../pool/sources/pool_settings.ts";
import { type Environment, port, readEnvironment, seconds } from "../program/environment.ts";

export interface ControllerSettings {
  /** host:port of each pool server, or the path of a servers.conf that names them. Without them there is nothing to publish. */
  readonly servers?: readonly string[] | string;
  /** Whether the scheduler is to share the pool; where it can, if absent. */
  readonly allocation?: "claims" | "units";
  /** How often a pool server is looked at, in ms. */
  readonly interval: number;
  /** How long a GPU may be away until the pods that hold it are evicted, in ms; never if absent. */
  readonly evictAfter?: number;
  readonly metricsPort: number;
  /** Where the Lease is. */
  readonly namespace: string;
  /** Who asks for the Lease. */
  readonly identity: string;
}

/** In seconds. */
const YEAR = 31_536_000;

/** @throws {ConfigError} */
export function readSettings(environment: Environment): ControllerSettings {
  const env = readEnvironment(
    {
      ...POOL_SETTINGS,
      ALLOCATION: v.optional(v.picklist(["claims", "units"], "expected claims or units")),
      INTERVAL: v.optional(seconds({ min: 0.1, max: 3600 }), "10"),
      EVICT_AFTER: v.optional(
        v.union([v.literal("never"), seconds({ min: 0, max: YEAR })], `expected never, or seconds from 0 to ${YEAR}`),
        "300",
      ),
      METRICS_PORT: v.optional(port(), "0"),
      POD_NAMESPACE: v.optional(v.string(), "bitfusion-system"),
      POD_NAME: v.optional(v.string(), hostname()),
    },
    environment,
  );
  const servers = serversOf(env);
  return {
    ...(servers === undefined ? {} : { servers }),
    ...(env.ALLOCATION === undefined ? {} : { allocation: env.ALLOCATION }),
    interval: env.INTERVAL,
    ...(env.EVICT_AFTER === "never" ? {} : { evictAfter: env.EVICT_AFTER }),
    metricsPort: env.METRICS_PORT,
    namespace: env.POD_NAMESPACE,
    identity: `${env.POD_NAME}_${crypto.randomUUID().slice(0, 8)}`, // one that was killed is not the one that takes its place
  };
}
