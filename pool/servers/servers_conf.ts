import { readFile } from "node:fs/promises";
import * as v from "valibot";
import { parse } from "yaml";
import { ConfigError } from "../../program/config_error.ts";
import { EXPECTED_ADDRESS, isAddress } from "../address.ts";
import { NodeLabels, type ServerEntry, withoutRepeats } from "./server_entry.ts";

const Address = v.pipe(v.string(EXPECTED_ADDRESS), v.check(isAddress, EXPECTED_ADDRESS));

const ServersConf = v.object(
  {
    servers: v.pipe(
      v.array(
        v.pipe(
          v.object(
            {
              addresses: v.optional(v.array(Address, "expected a list of addresses"), []),
              reachable: v.optional(Address),
              nodes: v.optional(NodeLabels),
            },
            "expected addresses",
          ),
          v.check(({ addresses, reachable }) => reachable !== undefined || addresses.length > 0, "expected addresses"),
        ),
        "expected a list of servers",
      ),
      v.minLength(1, "expected at least one server"),
    ),
  },
  "expected a list under the key servers",
);

/**
 * Parses the servers.conf of a token. Returns one address per server, without duplicates: `reachable`, or the first of
 * `addresses`. `nodes` has the labels of the nodes that reach the server.
 *
 * @param path for error messages.
 * @throws {ConfigError} names the file, the field, its value and what is expected.
 */
export function parseServersConf(text: string, path: string): ServerEntry[] {
  let document: unknown;
  try {
    document = parse(text);
  } catch (error) {
    throw new ConfigError(`Cannot read ${path}: ${(error as Error).message.split("\n")[0]}`);
  }
  const result = v.safeParse(ServersConf, document);
  if (!result.success) {
    const [issue] = result.issues;
    const field = v.getDotPath(issue);
    const value = JSON.stringify(issue.input) ?? "not set";
    throw new ConfigError(`Cannot use ${path}: ${field ? `${field} is ${value}` : "the document"}: ${issue.message}`);
  }
  const entries = result.output.servers.map(({ addresses, reachable, nodes }): ServerEntry => {
    const address = reachable ?? (addresses[0] as string);
    return nodes ? { address, nodes } : { address };
  });
  const servers = withoutRepeats(entries);
  if (servers) return servers;
  throw new ConfigError(`Cannot use ${path}: a server is named twice with different nodes: expected each server once`);
}

/**
 * Reads and parses a servers.conf with {@link parseServersConf}.
 *
 * @throws {ConfigError} if the file cannot be read or is invalid.
 */
export async function readServersConf(path: string): Promise<ServerEntry[]> {
  try {
    return parseServersConf(await readFile(path, "utf8"), path);
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    throw new ConfigError(`Cannot read the pool's servers from ${path}: ${(error as Error).message}`);
  }
}
