import * as v from "valibot";
import { isDnsSubdomain } from "../kubernetes/formats/dns.ts";
import { gpuMemory } from "../kubernetes/formats/gpu_memory.ts";
import { allocation } from "../pool/allocation/allocation.ts";
import { POOL_TOKEN } from "../pool/servers/pool_settings.ts";
import { poolServers } from "../pool/servers/server_entry.ts";
import { ConfigError } from "../program/config_error.ts";
import { type Environment, port, readEnvironment, setting } from "../program/environment.ts";

/** A setting with names of schedulers, separated by commas. */
function schedulers() {
  return v.pipe(
    v.string(),
    v.transform((text) =>
      text
        .split(",")
        .map((name) => name.trim())
        .filter((name) => name !== ""),
    ),
    v.check((names) => names.every(isDnsSubdomain), "expected names of schedulers, separated by commas"),
  );
}

/** The variables of the webhook. */
export const SETTINGS = {
  PORT: setting(v.optional(port(), "8443"), "HTTPS port: `POST /mutate`, `POST /validate`, `/livez`, `/readyz`"),
  METRICS_PORT: setting(v.optional(port(), "0"), "Port of `/livez`, `/readyz` and `/metrics`; 0 for any free one"),
  TLS_CERT_FILE: setting(
    v.optional(v.string()),
    "Certificate that another program keeps. Default: the webhook creates its own and shares it in a Secret",
  ),
  TLS_KEY_FILE: setting(v.optional(v.string()), "Key of that certificate"),
  CLIENTS_FILE: setting(v.optional(v.string(), "webhook/deploy/clients.yaml"), "The client catalogue"),
  TOKENS: setting(
    v.optional(v.picklist(["copy", "off"], "expected copy or off"), "copy"),
    "With `ALLOCATION=units`. `copy`: the webhook copies the pool's token into the namespaces of annotated pods. `off`: the namespaces must have it",
  ),
  READ_NVIDIA_GPU: setting(
    v.optional(v.picklist(["on", "off"], "expected on or off"), "on"),
    "`on`: a limit `nvidia.com/gpu` of an annotated pod requests GPUs of the pool. `off`: it is left alone, for nodes with GPUs of their own",
  ),
  ALLOCATION: setting(
    allocation(),
    "`claims`: the scheduler shares the pool exactly. `units`: each node counts by itself. The component `components/units` sets it for all programs",
  ),
  SCHEDULERS: setting(
    v.optional(schedulers(), ""),
    "With `ALLOCATION=claims`. Names of schedulers that allocate ResourceClaims by capacity, beside `default-scheduler`, separated by commas. Pods of other schedulers get a warning",
  ),
  TOTAL_GPU_MEMORY: setting(
    v.optional(gpuMemory()),
    "Memory of one GPU, in MB or as a quantity. Without it, `bitfusion.io/gpu-memory` is refused",
  ),
  POOL_SERVERS: setting(
    v.optional(poolServers()),
    "With `ALLOCATION=units`. `host:port` of each pool server, separated by commas. The webhook refuses pods that the whole pool could never hold; with claims, it reads the pool from the ResourceSlices",
  ),
  POOL_TOKEN,
  POD_NAMESPACE: setting(v.optional(v.string(), "bitfusion-system"), "Namespace of the webhook"),
};

/**
 * Reads the settings of the webhook.
 *
 * @throws {ConfigError} names the variable, its value and what is expected.
 */
export function readSettings(environment: Environment) {
  const env = readEnvironment(SETTINGS, environment);
  if ((env.TLS_CERT_FILE === undefined) !== (env.TLS_KEY_FILE === undefined)) {
    const [given, missing] = env.TLS_CERT_FILE ? ["TLS_CERT_FILE", "TLS_KEY_FILE"] : ["TLS_KEY_FILE", "TLS_CERT_FILE"];
    throw new ConfigError(
      `Cannot use ${given}="${env.TLS_CERT_FILE ?? env.TLS_KEY_FILE}" without ${missing}: set both or none`,
    );
  }
  return env;
}
