import { readFile } from "node:fs/promises";
import { join } from "node:path";
import * as v from "valibot";
import { isObjectNotFound } from "../../kubernetes/error.ts";
import type { KubernetesRequest } from "../../kubernetes/request.ts";
import { createBackoff } from "../../program/backoff.ts";
import { ConfigError } from "../../program/config_error.ts";
import { type Logger, messageOf } from "../../program/log/log.ts";
import { poll } from "../../program/poll.ts";
import type { Token } from "./token.ts";

/** Yields the token, and again when it changes. The first may take a while: it may not have been created yet. */
export type TokenSource = (signal: AbortSignal) => AsyncIterable<Token>;

/** The Secret with the token, and the name of its copies in other namespaces. */
export const TOKEN_SECRET = { namespace: "kube-system", name: "bitfusion-secret" } as const;

const SECRET_PATH = `/api/v1/namespaces/${TOKEN_SECRET.namespace}/secrets/${TOKEN_SECRET.name}`;

/** In place of a folder: there is no token. */
const NO_TOKEN = "none";

/** How often the files are read, in ms. */
const FILES_PERIOD = 10_000;

/** How often the Secret is read, in ms. A thousand nodes then send three requests a second. */
const SECRET_PERIOD = 300_000;

/** Longest time between two attempts to read the first token, in ms. */
const FIRST_TOKEN_PERIOD = 5000;

export interface TokenSourceOptions {
  /** The folder of the token's files, or `none` for servers with another protocol. Undefined: the token is in the Secret. */
  folder?: string | undefined;
  /** Connects to the API server, for the Secret. Loaded on first use: the API client needs time and memory. */
  connect: () => Promise<KubernetesRequest>;
  log: Logger;
}

/**
 * Reads the token of a pool. While there is no valid token, the source waits and logs why. Later, an invalid token is
 * logged and the last valid one stays in use.
 *
 * @throws {ConfigError} before the first token, if there is neither a folder nor an API server.
 */
export function createTokenSource({ folder, connect, log }: TokenSourceOptions): TokenSource {
  const onFailure = (error: unknown) => log.warn("Cannot read the pool's token", { reason: messageOf(error) });
  const backoff = () => createBackoff({ max: FIRST_TOKEN_PERIOD });
  return async function* (signal) {
    if (folder === NO_TOKEN) {
      yield {};
      return;
    }
    if (folder !== undefined) {
      yield* poll(() => readFiles(folder), { period: FILES_PERIOD, onFailure, backoff: backoff() }, signal);
      return;
    }
    const request = await connect().catch((error) => {
      if (!(error instanceof ConfigError)) throw error;
      throw new ConfigError(
        `Cannot start without POOL_TOKEN: expected the folder of the pool's token. ${error.message}`,
      );
    });
    const read = () => readSecret(request, signal);
    yield* poll(read, { period: SECRET_PERIOD, onFailure, backoff: backoff() }, signal);
  };
}

async function readFiles(folder: string): Promise<Token> {
  return readToken(folder, (name) => readFile(join(folder, name), "utf8"));
}

const Secret = v.object({ data: v.optional(v.record(v.string(), v.string()), {}) });

async function readSecret(request: KubernetesRequest, signal: AbortSignal): Promise<Token> {
  const from = `Secret ${TOKEN_SECRET.namespace}/${TOKEN_SECRET.name}`;
  const response = await request(SECRET_PATH, { signal }).catch((error) => {
    if (isObjectNotFound(error)) throw new Error(`${from} does not exist`);
    throw error;
  });
  const { data } = v.parse(Secret, await response.json());
  return readToken(from, async (name) => {
    const text = data[name];
    if (text === undefined) throw new Error(`${from} has no ${name}`);
    return Buffer.from(text, "base64").toString();
  });
}

/** Reads and parses a token. An invalid one is no reason to end, as a ConfigError is: it may be mended. */
async function readToken(from: string, read: (name: string) => Promise<string>): Promise<Token> {
  const { parseToken, TOKEN_FILES } = await loadParser();
  const open = async (name: string) => ({ path: `${from}/${name}`, text: await read(name) });
  const [ca, client] = await Promise.all([open(TOKEN_FILES.ca), open(TOKEN_FILES.client)]);
  try {
    return parseToken({ ca, client });
  } catch (error) {
    throw new Error(messageOf(error));
  }
}

/** Loads the YAML parser only when there is a token: it is a quarter of the device plugin's code. */
function loadParser() {
  return import("./token.ts");
}
