import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import * as v from "valibot";
import { parse } from "yaml";
import { readServersConf } from "../pool/sources/servers_conf.ts";
import { ConfigError } from "../program/config_error.ts";
import type { Environment } from "../program/environment.ts";

/** The content of the token's files. */
export interface ClientConfiguration {
  /** host:port of each server. */
  readonly servers: readonly string[];
  /** The content of client.yaml: the client's identity. The simulated pool does not authenticate it. */
  readonly client: Readonly<Record<string, unknown>>;
}

/** Paths of client.yaml, by priority. The second serves users without a home. */
function clientYamlPaths(environment: Environment): string[] {
  return [join(homedir(), ".bitfusion/client.yaml"), join(configurationFolder(environment), "client.yaml")];
}

/** The folder of servers.conf: /etc/bitfusion unless BITFUSION_CONFIG_DIR is set, as for Bitfusion's own client. */
function configurationFolder(environment: Environment): string {
  return environment.BITFUSION_CONFIG_DIR || "/etc/bitfusion";
}

/** Reads the token's files. @throws {ConfigError} when one is missing or invalid; names the file and the field. */
export async function readConfiguration(environment: Environment): Promise<ClientConfiguration> {
  const servers = await readServersConf(join(configurationFolder(environment), "servers.conf"));
  return { servers, client: await readClientYaml(clientYamlPaths(environment)) };
}

async function readClientYaml(paths: readonly string[]): Promise<Record<string, unknown>> {
  const reasons: string[] = [];
  for (const path of paths) {
    let text: string;
    try {
      text = await readFile(path, "utf8");
    } catch (error) {
      reasons.push((error as Error).message);
      continue;
    }
    return parseClientYaml(text, path);
  }
  throw new ConfigError(`Cannot read client.yaml: ${reasons.join("; ")}`);
}

/** Parses client.yaml. @throws {ConfigError} when it is not a YAML mapping; names the file. */
export function parseClientYaml(text: string, path: string): Record<string, unknown> {
  const expected = "expected a YAML mapping";
  let document: unknown;
  try {
    document = parse(text);
  } catch (error) {
    throw new ConfigError(`Cannot use ${path}: ${expected}: ${(error as Error).message.split("\n")[0]}`);
  }
  const result = v.safeParse(v.record(v.string(), v.unknown()), document);
  if (!result.success || Array.isArray(document)) throw new ConfigError(`Cannot use ${path}: ${expected}`);
  return result.output;
}
