import { readFile } from "node:fs/promises";
import * as v from "valibot";
import { parse } from "yaml";
import { ConfigError } from "../../program/config_error.ts";
import { describeIssue } from "../../program/describe_issue.ts";
import { ANNOTATIONS } from "../pod/keys.ts";
import { Refusal } from "../pod/refusal.ts";

const Text = v.pipe(v.string("expected text"), v.nonEmpty("expected text"));
const AbsolutePath = v.pipe(Text, v.startsWith("/", "expected an absolute path"));
const ResourceList = v.record(v.string(), Text, "expected quantities by resource name");

/** Volumes that the init container fills, each under /populate/<its name>. */
const VolumeName = v.picklist(["client", "opt", "config"], "expected client, opt or config");

const Mount = v.strictObject({
  volume: VolumeName,
  /** Where the containers see it. */
  path: AbsolutePath,
  /** One file of it, instead of all. */
  file: v.optional(Text),
});

const Client = v.strictObject({
  name: Text,
  /** Value of the annotation bitfusion-client/os that chooses it. */
  os: Text,
  /** Value of bitfusion-client/version. */
  version: Text,
  /** Image of the init container. */
  image: Text,
  /** Command of the init container: fills the volumes, from its image and the token's files in /populate/tokens. */
  populate: v.pipe(v.array(Text, "expected a list of arguments"), v.minLength(1, "expected a program")),
  /** Of the init container. Quantities in their canonical form, or a second look takes them for another's. */
  resources: v.strictObject({ requests: ResourceList, limits: ResourceList }),
  /** Whether it needs the pool's tokens. */
  tokens: v.optional(v.boolean("expected true or false"), true),
  mounts: v.pipe(v.array(Mount, "expected a list of mounts"), v.minLength(1, "expected at least one mount")),
  /** The client's program in the containers, for `<binary> run -n … -- <command>`. Without it commands are left alone. */
  binary: v.optional(AbsolutePath),
  /** Folder of its libraries, put in front of LD_LIBRARY_PATH. */
  libraryPath: AbsolutePath,
  /** Variables of the containers. */
  env: v.optional(v.array(v.strictObject({ name: Text, value: Text }), "expected a list of variables"), []),
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

/** How a client is attached to pods. */
export type ClientDefinition = v.InferOutput<typeof Client>;
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
export function chooseClient(catalogue: Catalogue, annotations: Readonly<Record<string, string>>): ClientDefinition {
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
  throw new Refusal("client", `No client has ${asked}: expected one of ${known}`);
}
