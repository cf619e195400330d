import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { readServersConf } from "../pool/servers/servers_conf.ts";
import { parseToken, TOKEN_FILES, type TokenFile, type TokenTexts } from "../pool/token/token.ts";
import { ConfigError } from "../program/config_error.ts";
import type { Environment } from "../program/environment.ts";
import type { TlsIdentity } from "../tls/key_pair.ts";

/** The content of the token's files. */
export interface ClientConfiguration {
  /** host:port of each server. */
  readonly servers: readonly string[];
  /** The client's identity, and the CAs of the servers. */
  readonly tls: TlsIdentity;
}

/** Paths of client.yaml, by priority. The second serves users without a home. */
function clientYamlPaths(environment: Environment): string[] {
  return [
    join(homedir(), ".bitfusion", TOKEN_FILES.client),
    join(configurationFolder(environment), TOKEN_FILES.client),
  ];
}

/** Paths of ca.crt, by priority. The first is that of Bitfusion's own client, the second that of a token's folder. */
function caPaths(environment: Environment): string[] {
  const folder = configurationFolder(environment);
  return [join(folder, "tls", TOKEN_FILES.ca), join(folder, TOKEN_FILES.ca)];
}

/** The folder of servers.conf: /etc/bitfusion unless BITFUSION_CONFIG_DIR is set, as for Bitfusion's own client. */
function configurationFolder(environment: Environment): string {
  return environment.BITFUSION_CONFIG_DIR || "/etc/bitfusion";
}

/** Reads the token's files. @throws {ConfigError} when one is missing or invalid; names the file and the field. */
export async function readConfiguration(environment: Environment): Promise<ClientConfiguration> {
  const servers = await readServersConf(join(configurationFolder(environment), TOKEN_FILES.servers));
  const client = await readFirst(TOKEN_FILES.client, clientYamlPaths(environment));
  const ca = await readFirst(TOKEN_FILES.ca, caPaths(environment));
  return { servers: servers.map(({ address }) => address), tls: parseIdentity({ ca, client }) };
}

/** Parses an identity for `bitfusion.pool.v1`. @throws {ConfigError} when it is invalid or for another protocol. */
export function parseIdentity(files: TokenTexts): TlsIdentity {
  const { tls } = parseToken(files);
  if (tls) return tls;
  throw new ConfigError(`Cannot use ${files.client.path}: certificate is not set: expected a certificate in PEM`);
}

async function readFirst(name: string, paths: readonly string[]): Promise<TokenFile> {
  const reasons: string[] = [];
  for (const path of paths) {
    try {
      return { path, text: await readFile(path, "utf8") };
    } catch (error) {
      reasons.push((error as Error).message);
    }
  }
  throw new ConfigError(`Cannot read ${name}: ${reasons.join("; ")}`);
}
