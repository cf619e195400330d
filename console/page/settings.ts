import * as v from "valibot";
import { type Environment, port, readEnvironment, setting } from "../../program/environment.ts";

export interface PageSettings {
  readonly port: number;
  readonly metricsPort: number;
  /** Host names under which the page may be called, in lower case. */
  readonly hosts: readonly string[];
  /** The folder with the bundled page. Undefined: it is bundled from its source. */
  readonly assets?: string;
}

/** Names by which people on the machine of `kubectl port-forward` call the page. */
const LOCAL = ["localhost", "127.0.0.1", "[::1]"];

const HostNames = v.pipe(
  v.string(),
  v.transform((text) => text.split(",").map((name) => name.trim().toLowerCase())),
  v.check(
    (names) => names.every((name) => /^([a-z0-9.-]+|\[[0-9a-f:.]+\])$/.test(name)),
    "expected host names without ports, separated by commas",
  ),
);

/** The variables of the page. */
export const SETTINGS = {
  PORT: setting(v.optional(port(), "8080"), "Port of the page, plain HTTP; 0 for any free one"),
  METRICS_PORT: setting(v.optional(port(), "0"), "Port of `/livez`, `/readyz` and `/metrics`; 0 for any free one"),
  HOSTS: setting(
    v.optional(HostNames),
    "Host names under which people open the page, beside localhost: that of its Ingress. Separated by commas, without ports. Requests for another name are refused",
  ),
  ASSETS: setting(
    v.optional(v.string()),
    "Folder with the bundled page. The image has one; without it, the source is bundled",
  ),
};

/** @throws {ConfigError} */
export function readSettings(environment: Environment): PageSettings {
  const env = readEnvironment(SETTINGS, environment);
  return {
    port: env.PORT,
    metricsPort: env.METRICS_PORT,
    hosts: [...LOCAL, ...(env.HOSTS ?? [])],
    ...(env.ASSETS === undefined ? {} : { assets: env.ASSETS }),
  };
}
