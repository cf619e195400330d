import { existsSync } from "node:fs";
import { chmod, constants, copyFile, mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { parseServersConf } from "../pool/servers/servers_conf.ts";
import { TOKEN_FILES, type TokenFile } from "../pool/token/token.ts";
import { ConfigError } from "../program/config_error.ts";
import { parseIdentity } from "./configuration.ts";

/** The token's files that the client needs. */
const FILES = [TOKEN_FILES.ca, TOKEN_FILES.client, TOKEN_FILES.servers] as const;

export interface InstallOptions {
  /** The executable to install. */
  executable: string;
  /** Folder that containers mount as /bitfusion. */
  client: string;
  /** Folder whose files containers mount in /etc/bitfusion and in the home. */
  config: string;
  /** Folder with the token's files. */
  tokens: string;
}

/**
 * Copies the client to volumes that the pod's containers mount, and the token if the pod has one: where the driver takes the leases, there is no
 * folder of tokens. Checks the token before writing anything.
 *
 * @throws {ConfigError} when a file of the token is missing or invalid; names the file.
 */
export async function install({ executable, client, config, tokens }: InstallOptions): Promise<void> {
  const hasTokens = existsSync(tokens);
  if (hasTokens) await checkToken(tokens);
  await mkdir(join(client, "bin"), { recursive: true });
  await mkdir(join(client, "lib"), { recursive: true });
  await copy(executable, join(client, "bin/bitfusion"), 0o755);
  if (!hasTokens) return;
  for (const name of FILES) {
    // the containers' users are unknown, and a client writes to its servers.conf
    await copy(join(tokens, name), join(config, name), name === TOKEN_FILES.servers ? 0o666 : 0o644);
  }
}

/** @throws {ConfigError} when a file of the token is missing or invalid; names the file. */
async function checkToken(folder: string): Promise<void> {
  const ca = await readTokenFile(folder, TOKEN_FILES.ca);
  const client = await readTokenFile(folder, TOKEN_FILES.client);
  const servers = await readTokenFile(folder, TOKEN_FILES.servers);
  parseIdentity({ ca, client });
  parseServersConf(servers.text, servers.path);
}

async function readTokenFile(folder: string, name: string): Promise<TokenFile> {
  const path = join(folder, name);
  const text = await readFile(path, "utf8").catch((error) => {
    throw new ConfigError(`Cannot read the token file ${name}: ${(error as Error).message}`);
  });
  return { path, text };
}

async function copy(from: string, to: string, mode: number): Promise<void> {
  await copyFile(from, to, constants.COPYFILE_FICLONE);
  await chmod(to, mode);
}
