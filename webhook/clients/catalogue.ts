import { readFile } from "node:fs/promises";
import { join } from "node:path/posix";
import * as v from "valibot";
import { bytesOf } from "../../kubernetes/objects/quantity.ts";
import type { Allocation } from "../../pool/allocation/allocation.ts";
import { USE_UNITS } from "../../pool/allocation/claim_support.ts";
import { DataPlaneBuild, DataPlaneName } from "../../pool/requests/data_plane.ts";
import { ConfigError } from "../../program/config_error.ts";
import { parseFile } from "../../program/configuration/parse_file.ts";
import { quote } from "../../program/text/quote.ts";
import { memoize } from "../fast/memoize.ts";
import { ANNOTATIONS } from "../pod/keys.ts";
import { Refusal } from "../pod/refusal.ts";

const Text = v.pipe(v.string("expected text"), v.nonEmpty("expected text"));
const AbsolutePath = v.pipe(
  Text,
  v.check(isCanonical, "expected an absolute path without //, . and .., and without a slash at the end"),
);

/** A volume that the init container fills at /populate/<name>. */
const VolumeName = v.picklist(["client", "opt", "config"], "expected client, opt or config");

const Mount = v.pipe(
  v.strictObject({
    volume: VolumeName,
    /** Mount path in the GPU containers. */
    path: AbsolutePath,
    /** Mounts one file of the volume instead of the complete volume. */
    file: v.optional(Text),
    /** Mounts one folder of the volume instead of the complete volume. */
    folder: v.optional(Text),
  }),
  v.check(({ file, folder }) => file === undefined || folder === undefined, "expected file or folder, not both"),
);

const Size = v.pipe(
  v.string("expected a quantity of bytes, such as 110Mi"),
  v.check((text) => bytesOf(text) !== undefined, "expected a quantity of bytes, such as 110Mi"),
);

const Client = v.strictObject({
  name: Text,
  /** Value of the annotation bitfusion-client/os that chooses the client. */
  os: Text,
  /** Value of the annotation bitfusion-client/version that chooses the client. */
  version: Text,
  /** Image of the init container. */
  image: Text,
  /**
   * Command of the init container. It fills the volumes from its image and from the token's files in /populate/tokens.
   */
  populate: v.pipe(v.array(Text, "expected a list of arguments"), v.minLength(1, "expected a program")),
  /** Disk space that the volumes take once they are filled. Pods whose limits of ephemeral-storage are smaller are refused. */
  size: v.optional(Size),
  /** Whether the client needs the pool's token, which is in the volume `config`. */
  tokens: v.optional(v.boolean("expected true or false"), true),
  /** Whether the client uses the leases that the driver holds. With claims it then needs no token. */
  leases: v.optional(v.boolean("expected true or false"), false),
  mounts: v.pipe(v.array(Mount, "expected a list of mounts"), v.minLength(1, "expected at least one mount")),
  /**
   * Path of the client's program in the containers, for `<binary> run -n … -- <command>`. Without it, commands are left
   * alone.
   */
  binary: v.optional(AbsolutePath),
  /** Directory of the client's libraries, for clients whose program does not find them itself. It is prepended to LD_LIBRARY_PATH. */
  libraryPath: v.optional(AbsolutePath),
  /** What the client talks to. With claims, its pods get GPUs of servers with this data plane only. */
  dataPlane: v.optional(v.strictObject({ name: DataPlaneName, build: DataPlaneBuild })),
  /** Environment variables of the GPU containers. */
  env: v.optional(v.array(v.strictObject({ name: Text, value: Text }), "expected a list of variables"), []),
});

const Catalogue = v.pipe(
  v.strictObject({
    /** Name of the client for pods that do not choose one. */
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

function isCanonical(path: string): boolean {
  return path.startsWith("/") && path === join(path) && !path.endsWith("/");
}

/** How a client is attached to pods. */
export type CopiedClient = v.InferOutput<typeof Client>;
/** The clients that pods can choose from. */
export type Catalogue = v.InferOutput<typeof Catalogue>;

/**
 * Parses a catalogue in YAML.
 *
 * @param path of the file, for error messages
 * @throws {ConfigError} names the file, the field, its value and what is expected.
 */
export function parseCatalogue(text: string, path: string): Catalogue {
  return parseFile(Catalogue, text, path);
}

/**
 * Reads a catalogue from a file.
 *
 * @throws {ConfigError} if the file cannot be read or parsed, see {@link parseCatalogue}.
 */
export async function readCatalogue(path: string): Promise<Catalogue> {
  const text = await readFile(path, "utf8").catch((error) => {
    throw new ConfigError(`Cannot read CLIENTS_FILE="${path}": ${(error as Error).message}`);
  });
  return parseCatalogue(text, path);
}

/**
 * The client that a pod's annotations choose, or the default, as it is attached with this allocation.
 *
 * @throws {Refusal} lists the known clients, or says that the client does not work with claims.
 */
export function chooseClient(
  catalogue: Catalogue,
  annotations: Readonly<Record<string, string>>,
  allocation: Allocation,
): CopiedClient {
  const client = findClient(catalogue, annotations);
  if (allocation === "units" || !client.tokens) return client;
  if (client.leases) return withoutToken(client);
  throw new Refusal(
    "client",
    `The client ${client.name} takes its own leases, but with claims the driver takes them: choose another client, or ${USE_UNITS}`,
  );
}

/** A client without the pool's token, and without the volume that has the token's files. */
const withoutToken = memoize(
  (client: CopiedClient): CopiedClient => ({
    ...client,
    tokens: false,
    mounts: client.mounts.filter(({ volume }) => volume !== "config"),
  }),
);

function findClient(catalogue: Catalogue, annotations: Readonly<Record<string, string>>): CopiedClient {
  const os = annotations[ANNOTATIONS.os];
  const version = annotations[ANNOTATIONS.version];
  const matching = catalogue.clients.filter(
    (client) => (os === undefined || client.os === os) && (version === undefined || client.version === version),
  );
  const chosen = matching.find(({ name }) => name === catalogue.default) ?? matching[0];
  if (chosen) return chosen;
  const requested = ([ANNOTATIONS.os, ANNOTATIONS.version] as const)
    .filter((key) => annotations[key] !== undefined)
    .map((key) => `${key} ${quote(annotations[key] ?? "")}`)
    .join(" and ");
  const known = catalogue.clients.map((client) => `${client.os} ${client.version}`).join(", ");
  throw new Refusal("client", `No client has ${requested}: expected one of ${known}`);
}
