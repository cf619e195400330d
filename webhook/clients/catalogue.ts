import { readFile } from "node:fs/promises";
import { join } from "node:path/posix";
import * as v from "valibot";
import { bytesOf } from "../../kubernetes/formats/quantity.ts";
import { DataPlaneBuild, DataPlaneName } from "../../pool/requests/data_plane.ts";
import { ConfigError } from "../../program/config_error.ts";
import { parseFile } from "../../program/configuration/parse_file.ts";

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

/** Fields of all clients. */
const common = {
  name: Text,
  /** Value of the annotation bitfusion-client/os that chooses the client. */
  os: Text,
  /** Value of the annotation bitfusion-client/version that chooses the client. */
  version: Text,
  /** Image with the client's files. */
  image: Text,
  /** What the client talks to. With claims, its pods get GPUs of servers with this data plane only. */
  dataPlane: v.optional(v.strictObject({ name: DataPlaneName, build: DataPlaneBuild })),
  /** Environment variables of the GPU containers. */
  env: v.optional(v.array(v.strictObject({ name: Text, value: Text }), "expected a list of variables"), []),
};

/** A client whose files an init container copies into volumes of the pod. The container runs from `image`. */
const CopiedClient = v.strictObject({
  ...common,
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
});

const Library = v.pipe(
  Text,
  v.check(isLibrary, "expected the path of a file in the image, such as lib/libcuda.so.1, without colons and spaces"),
);
const EXPECTED_LIBRARIES = "expected a list of paths in the image, such as [lib/libcuda.so.1]";

/**
 * A client that consists of libraries, which reach their server through a port of the pod. The GPU containers mount `image` as an image
 * volume. In the values of `env`, `{port}` stands for the container's port at 127.0.0.1.
 */
const SidecarClient = v.strictObject(
  {
    ...common,
    /** The sidecar that forwards the ports to the pool servers. */
    sidecar: v.strictObject({
      /** Image with the program `bitfusion` at /usr/bin/bitfusion. */
      image: Text,
      /** Paths of the libraries in the client's image. Every program of the GPU containers loads them. */
      libraries: v.pipe(v.array(Library, EXPECTED_LIBRARIES), v.minLength(1, EXPECTED_LIBRARIES)),
    }),
  },
  (issue) =>
    issue.expected === "never" ? "expected no such field, since the client is attached by sidecar" : issue.message,
);

/** The key `sidecar` decides how a client is attached. */
const Client = v.lazy((input): typeof SidecarClient | typeof CopiedClient =>
  typeof input === "object" && input !== null && "sidecar" in input ? SidecarClient : CopiedClient,
);

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

/** The file /etc/ld.so.preload separates paths by colons and white space, and expands $ORIGIN. */
function isLibrary(path: string): boolean {
  return isCanonical(`/${path}`) && !/[\s:$]/.test(path);
}

export type CopiedClient = v.InferOutput<typeof CopiedClient>;
export type SidecarClient = v.InferOutput<typeof SidecarClient>;
/** How a client is attached to pods. */
export type ClientDefinition = CopiedClient | SidecarClient;
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

/** Whether a client is attached by sidecar, and not by an init container that copies its files. */
export function isSidecarClient(client: ClientDefinition): client is SidecarClient {
  return "sidecar" in client;
}
