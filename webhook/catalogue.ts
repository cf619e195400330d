import { readFile } from "node:fs/promises";
import * as v from "valibot";
import { parse } from "yaml";
import { ConfigError } from "../program/config_error.ts";
import { describeIssue } from "../program/issue.ts";
import { ANNOTATIONS } from "./keys.ts";
import { Refusal } from "./refusal.ts";

const Text = v.pipe(v.string("expected text"), v.nonEmpty("expected text"));
const AbsolutePath = v.pipe(Text, v.startsWith("/", "expected an absolute path"));
const ResourceList = v.record(v.string(), Text, "expected quantities by resource name");

const Client = v.strictObject({
  name: Text,
  /** Value of the annotation bitfusion-client/os that chooses it. */
  os: Text,
  /** Value of bitfusion-client/version. */
  version: Text,
  /** Image of the init container. */
  image: Text,
  /**
   * Command of the init container. It finds the token's files in /populate/tokens, and fills /populate/bitfusion (seen by the
   * containers as /bitfusion), /populate/opt (/opt/bitfusion) and /populate/config (servers.conf, client.yaml, ca.crt).
   */
  populate: v.pipe(v.array(Text, "expected a list of arguments"), v.minLength(1, "expected a program")),
  resources: v.strictObject({ requests: ResourceList, limits: ResourceList }),
  /** The client's path in the containers. */
  binary: AbsolutePath,
  /** Folder of its libraries, for LD_LIBRARY_PATH. */
  libraryPath: AbsolutePath,
});

const Catalogue = v.pipe(
  v.strictObject({
    /** Name of the client for pods that choose none. */
    default: Text,
    clients: v.pipe(v.array(Client, "expected a list of clients"), v.minLength(1, "expected at least one client")),
  }),
  v.forward(
    v.check(
      ({ default: name, clients }) => clients.some((client) => client.name === name),
      ({ input }) => `expected the name of one of the clients, not "${input.default}"`,
    ),
    ["default"],
  ),
);

/** How one client gets into a pod. */
export type Client = v.InferOutput<typeof Client>;
/** The clients that pods can choose from. */
export type Catalogue = v.InferOutput<typeof Catalogue>;

/** @throws {ConfigError} names the file, the field, its value and what would be right. */
export function parseCatalogue(text: string, path: string): Catalogue {
  let document: unknown;
  try {
    document = parse(text);
  } catch (error) {
    throw new ConfigError(`Cannot read ${path}: ${(error as Error).message.split("\n")[0]}`);
  }
  const result = v.safeParse(Catalogue, document);
  if (result.success) return result.output;
  throw new ConfigError(`Cannot use ${path}: ${describeIssue(result.issues[0])}`);
}

/** {@link parseCatalogue} of a file. */
export async function readCatalogue(path: string): Promise<Catalogue> {
  const text = await readFile(path, "utf8").catch((error) => {
    throw new ConfigError(`Cannot read CLIENTS_FILE="${path}": ${(error as Error).message}`);
  });
  return parseCatalogue(text, path);
}

/** The client that a pod's annotations choose, or the default. @throws {Refusal} lists the known ones. */
export function chooseClient(catalogue: Catalogue, annotations: Readonly<Record<string, string>>): Client {
  const os = annotations[ANNOTATIONS.os];
  const version = annotations[ANNOTATIONS.version];
  const matching = catalogue.clients.filter(
    (client) => (os === undefined || client.os === os) && (version === undefined || client.version === version),
  );
  const chosen = matching.find(({ name }) => name === catalogue.default) ?? matching[0];
  if (chosen) return chosen;
  const asked = ([ANNOTATIONS.os, ANNOTATIONS.version] as const)
    .filter((key) => annotations[key] !== undefined)
    .map((key) => `${key} "${annotations[key]}"`)
    .join(" and ");
  const known = catalogue.clients.map((client) => `${client.os} ${client.version}`).join(", ");
  throw new Refusal(`No client has ${asked}: expected one of ${known}`);
}
