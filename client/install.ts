import { chmod, constants, copyFile, mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { parseServersConf } from "../pool/sources/servers_conf.ts";
import { ConfigError } from "../program/config_error.ts";
import { parseClientYaml } from "./configuration.ts";

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

/** The token's files. Each has a function that throws if the content is invalid. */
const TOKEN_FILES: Record<string, (text: string, path: string) => unknown> = {
  "ca.crt": () => {},
  "client.yaml": parseClientYaml,
  "servers.conf": parseServersConf,
};

/**
 * Copies the client and the token to volumes that the pod's containers mount. Checks the token before writing anything.
 *
 * @throws {ConfigError} when a file of the token is missing or invalid; names the file.
 */
export async function install({ executable, client, config, tokens }: InstallOptions): Promise<void> {
  for (const [name, check] of Object.entries(TOKEN_FILES)) {
    const path = join(tokens, name);
    const text = await readFile(path, "utf8").catch((error) => {
      throw new ConfigError(`Cannot read the token file ${name}: ${(error as Error).message}`);
    });
    check(text, path);
  }
  await mkdir(join(client, "bin"), { recursive: true });
  await mkdir(join(client, "lib"), { recursive: true });
  await copy(executable, join(client, "bin/bitfusion"), 0o755);
  for (const name of Object.keys(TOKEN_FILES)) {
    // the containers' users are unknown, and a client writes to its servers.conf
    await copy(join(tokens, name), join(config, name), name === "servers.conf" ? 0o666 : 0o644);
  }
}

async function copy(from: string, to: string, mode: number): Promise<void> {
  await copyFile(from, to, constants.COPYFILE_FICLONE);
  await chmod(to, mode);
}
