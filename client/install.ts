import { chmod, constants, copyFile, mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { parseServersConf } from "../pool/sources/servers_conf.ts";
import { ConfigError } from "../program/config_error.ts";
import { parseClientYaml } from "./configuration.ts";

export interface InstallOptions {
  /** The executable to install. */
  executable: string;
  /** Folder that a container will see as /bitfusion. */
  client: string;
  /** Folder whose files a container will see under /etc/bitfusion and in its home. */
  config: string;
  /** Folder with a token's files. */
  tokens: string;
}

/** The files of a token, and what is checked of each before a container depends on it. */
const TOKEN_FILES: Record<string, (text: string, path: string) => unknown> = {
  "ca.crt": () => {},
  "client.yaml": parseClientYaml,
  "servers.conf": parseServersConf,
};

/**
 * Puts the client and its configuration where the containers of a pod find them.
 *
 * @throws {ConfigError} names the token's file that is missing or wrong.
 */
export async function install({ executable, client, config, tokens }: InstallOptions): Promise<void> {
  for (const [name, check] of Object.entries(TOKEN_FILES)) {
    const path = join(tokens, name);
    const text = await readFile(path, "utf8").catch((error) => {
      throw new ConfigError(`Cannot read the token's file ${name}: ${(error as Error).message}`);
    });
    check(text, path);
  }
  await mkdir(join(client, "bin"), { recursive: true });
  await mkdir(join(client, "lib"), { recursive: true });
  await copy(executable, join(client, "bin/bitfusion"), 0o755);
  for (const name of Object.keys(TOKEN_FILES)) {
    // The containers' users are unknown here, and a client writes to its servers.conf.
    await copy(join(tokens, name), join(config, name), name === "servers.conf" ? 0o666 : 0o644);
  }
}

async function copy(from: string, to: string, mode: number): Promise<void> {
  await copyFile(from, to, constants.COPYFILE_FICLONE);
  await chmod(to, mode);
}
