import { readFile } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { ConfigError } from "../../program/config_error.ts";
import { type Logger, messageOf } from "../../program/log/log.ts";
import { poll } from "../../program/poll.ts";
import { parseAuthority } from "../../tls/authority.ts";
import { findPairProblem, type KeyPair } from "../../tls/key_pair.ts";
import { parseConfiguration, type ServerConfiguration } from "./configuration.ts";
import type { TlsPaths } from "./tls.ts";

/** A configuration with the content of the files that `tls` names, in PEM, and the absolute path of `state`. */
export type LoadedConfiguration = Omit<ServerConfiguration, "tls"> & { readonly tls: TlsMaterial };

/** The clients' CAs, and the server's certificate or the key with which the server makes one. */
export type TlsMaterial = { readonly ca: string } & (
  | { readonly pair: KeyPair }
  | { readonly caKey: string; readonly hosts?: readonly string[] | undefined }
);

/** How often the files are read, in ms: a client that is removed ends within this time. */
const PERIOD = 1000;

/**
 * Yields the configuration, and again when it or a file that it names changes. An invalid one is logged, and the last
 * valid one stays in use.
 *
 * @throws {ConfigError} if the first one is missing or invalid.
 */
export function followConfiguration(
  path: string,
  log: Logger,
  signal: AbortSignal,
): AsyncGenerator<LoadedConfiguration> {
  const onFailure = (error: unknown) =>
    log.error("Cannot use the configuration: keeping the last valid one", { reason: messageOf(error) });
  return poll(() => loadConfiguration(path), { period: PERIOD, onFailure }, signal);
}

/** @throws {ConfigError} names the file, the field and what is expected. */
async function loadConfiguration(path: string): Promise<LoadedConfiguration> {
  const { state, ...configuration } = parseConfiguration(await read(path), path);
  const tls = await loadTls(configuration.tls, path);
  return { ...configuration, ...(state === undefined ? {} : { state: resolve(dirname(path), state) }), tls };
}

async function loadTls({ caKey, cert, key, hosts, ...paths }: TlsPaths, path: string): Promise<TlsMaterial> {
  const readField = (file: string) => read(resolve(dirname(path), file));
  const ca = await readField(paths.ca);
  if (caKey !== undefined) {
    const material = { ca, caKey: await readField(caKey), hosts };
    await parseAuthority({ cert: ca, key: material.caKey }).catch((error) => {
      throw new ConfigError(`Cannot use tls.ca="${paths.ca}" and tls.caKey="${caKey}" of ${path}: ${error.message}`);
    });
    return material;
  }
  const pair = { cert: await readField(cert ?? ""), key: await readField(key ?? "") };
  const problem = findPairProblem(pair.cert, pair.key);
  if (!problem) return { ca, pair };
  const [field, file] = problem.wrong === "cert" ? ["cert", cert] : ["key", key];
  throw new ConfigError(`Cannot use tls.${field}="${file}" of ${path}: expected ${problem.expected}`);
}

async function read(path: string): Promise<string> {
  return readFile(path, "utf8").catch((error) => {
    throw new ConfigError(`Cannot read ${path}: ${(error as Error).message}`);
  });
}
