import { join } from "node:path";
import * as v from "valibot";
import { gpuMemory } from "../kubernetes/objects/gpu_memory.ts";
import { poolServers } from "../pool/address.ts";
import { ConfigError } from "../program/config_error.ts";
import { type Environment, port, readEnvironment } from "../program/environment.ts";

/** What the webhook is told by its environment. */
export function readSettings(environment: Environment) {
  const env = readEnvironment(
    {
      PORT: v.optional(port(), "8443"),
      METRICS_PORT: v.optional(port(), "0"),
      /** A certificate that someone else keeps; without it the webhook makes its own and shares it by a Secret. */
      TLS_CERT_FILE: v.optional(v.string()),
      TLS_KEY_FILE: v.optional(v.string()),
      /** The client catalogue. */
      CLIENTS_FILE: v.optional(v.string(), join(import.meta.dir, "deploy/clients.yaml")),
      /** copy: into the namespaces of annotated pods; off: they are taken to be there. */
      TOKENS: v.optional(v.picklist(["copy", "off"], "expected copy or off"), "copy"),
      /** claims: the scheduler shares the pool; units: each node counts for itself. Without it: claims of a pool that is named, where the API server offers them. */
      ALLOCATION: v.optional(v.picklist(["claims", "units"], "expected claims or units")),
      /** Memory of one GPU, for shares of memory. */
      TOTAL_GPU_MEMORY: v.optional(gpuMemory()),
      /** The pool, to refuse what it can never hold; without it nothing is refused for that. */
      POOL_SERVERS: v.optional(poolServers()),
      /** Where the webhook runs, in a cluster. */
      POD_NAMESPACE: v.optional(v.string(), "bitfusion-system"),
    },
    environment,
  );
  if ((env.TLS_CERT_FILE === undefined) !== (env.TLS_KEY_FILE === undefined)) {
    const [given, missing] = env.TLS_CERT_FILE ? ["TLS_CERT_FILE", "TLS_KEY_FILE"] : ["TLS_KEY_FILE", "TLS_CERT_FILE"];
    throw new ConfigError(
      `Cannot use ${given}="${env.TLS_CERT_FILE ?? env.TLS_KEY_FILE}" without ${missing}: set both or none`,
    );
  }
  return env;
}
