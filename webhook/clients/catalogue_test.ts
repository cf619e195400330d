import { expect, test } from "bun:test";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { stringify } from "yaml";
import { ConfigError } from "../../program/config_error.ts";
import { sidecarClient, testClient } from "../testing.ts";
import { type Catalogue, type CopiedClient, parseCatalogue, readCatalogue } from "./catalogue.ts";

const DEPLOYED = join(import.meta.dir, "../deploy/clients.yaml");

function client(name: string, os: string, version: string): CopiedClient {
  return testClient({ name, os, version, image: `client:${name}` });
}

const catalogue: Catalogue = {
  default: "focal",
  clients: [
    client("bionic", "ubuntu18", "450"),
    client("focal", "ubuntu20", "450"),
    client("focal-old", "ubuntu20", "401"),
  ],
};

test("parseCatalogue() reads the deployed catalogue", async () => {
  const deployed = parseCatalogue(await Bun.file(DEPLOYED).text(), DEPLOYED);
  expect(deployed.clients.map(({ name }) => name)).toContain(deployed.default);
});

const [first] = catalogue.clients;
const withSidecar = (changes: object) => ({ default: "lupine", clients: [{ ...sidecarClient(), ...changes }] });
const LIBRARY = "expected the path of a file in the image, such as lib/libcuda.so.1, without colons and spaces";

test("parseCatalogue() reads all fields", () => {
  const all = {
    ...catalogue,
    clients: [...catalogue.clients, sidecarClient({ dataPlane: { name: "lupine", build: "1" } })],
  };
  expect(parseCatalogue(stringify(all), "clients.yaml")).toEqual(all);
});

test.each<[description: string, document: unknown, message: string]>([
  ["an empty file", "", "Cannot use clients.yaml: the document"],
  ["no default", { clients: catalogue.clients }, "Cannot use clients.yaml: default is not set"],
  [
    "a default that is not a client",
    { ...catalogue, default: "jammy" },
    'Cannot use clients.yaml: default: expected the name of one of the clients, not "jammy"',
  ],
  ["no clients", { default: "x", clients: [] }, "Cannot use clients.yaml: clients: expected at least one client"],
  [
    "a client without an image",
    { default: "bionic", clients: [{ ...first, image: undefined }] },
    "Cannot use clients.yaml: clients.0.image is not set",
  ],
  [
    "a version that YAML parses as a number",
    { default: "bionic", clients: [{ ...first, version: 450 }] },
    "Cannot use clients.yaml: clients.0.version is 450: expected text",
  ],
  [
    "a relative path",
    { default: "bionic", clients: [{ ...first, binary: "bin/bitfusion" }] },
    'Cannot use clients.yaml: clients.0.binary is "bin/bitfusion": expected an absolute path',
  ],
  [
    "a size that is not a quantity",
    { default: "bionic", clients: [{ ...first, size: "110MB" }] },
    'Cannot use clients.yaml: clients.0.size is "110MB": expected a quantity of bytes, such as 110Mi',
  ],
  [
    "a data plane without a build",
    { default: "bionic", clients: [{ ...first, dataPlane: { name: "lupine" } }] },
    "Cannot use clients.yaml: clients.0.dataPlane.build is not set",
  ],
  [
    "a data plane whose build is a number",
    { default: "bionic", clients: [{ ...first, dataPlane: { name: "lupine", build: 1.5 } }] },
    "Cannot use clients.yaml: clients.0.dataPlane.build is 1.5: expected text, in quotes where it is a number",
  ],
  [
    "a mount with both a file and a folder",
    { default: "bionic", clients: [{ ...first, mounts: [{ volume: "opt", path: "/a", file: "a", folder: "b" }] }] },
    "Cannot use clients.yaml: clients.0.mounts.0: expected file or folder, not both",
  ],
  [
    "a path in another spelling",
    { default: "bionic", clients: [{ ...first, binary: "/bitfusion//bin" }] },
    'Cannot use clients.yaml: clients.0.binary is "/bitfusion//bin": expected an absolute path without //, . and ..',
  ],
  [
    "an empty command",
    { default: "bionic", clients: [{ ...first, populate: [] }] },
    "Cannot use clients.yaml: clients.0.populate: expected a program",
  ],
  [
    "a client without mounts",
    { default: "bionic", clients: [{ ...first, mounts: [] }] },
    "Cannot use clients.yaml: clients.0.mounts: expected at least one mount",
  ],
  [
    "a mount of a volume that the init container does not fill",
    { default: "bionic", clients: [{ ...first, mounts: [{ volume: "tokens", path: "/t" }] }] },
    'Cannot use clients.yaml: clients.0.mounts.0.volume is "tokens": expected client, opt or config',
  ],
  [
    "tokens that YAML parses as text",
    { default: "bionic", clients: [{ ...first, tokens: "no" }] },
    'Cannot use clients.yaml: clients.0.tokens is "no": expected true or false',
  ],
  [
    "a variable whose value YAML parses as a number",
    { default: "bionic", clients: [{ ...first, env: [{ name: "A", value: 1 }] }] },
    "Cannot use clients.yaml: clients.0.env.0.value is 1: expected text",
  ],
  [
    "an unknown field",
    { default: "bionic", clients: [{ ...first, imagePullPolicy: "Never" }] },
    "Cannot use clients.yaml: clients.0.imagePullPolicy is not a known field",
  ],
  [
    "a command of an init container for a client that is attached by sidecar",
    withSidecar({ populate: ["/bin/cp"] }),
    "Cannot use clients.yaml: clients.0.populate: expected no such field, since the client is attached by sidecar",
  ],
  [
    "mounts of a client that is attached by sidecar",
    withSidecar({ mounts: [{ volume: "opt", path: "/opt" }] }),
    "Cannot use clients.yaml: clients.0.mounts: expected no such field, since the client is attached by sidecar",
  ],
  [
    "a sidecar without an image",
    withSidecar({ sidecar: { libraries: ["a.so"] } }),
    "Cannot use clients.yaml: clients.0.sidecar.image is not set",
  ],
  [
    "a sidecar client without its own image",
    withSidecar({ image: undefined }),
    "Cannot use clients.yaml: clients.0.image is not set",
  ],
  [
    "a sidecar client without libraries",
    withSidecar({ sidecar: { image: "a", libraries: [] } }),
    "Cannot use clients.yaml: clients.0.sidecar.libraries: expected a list of paths in the image, such as [lib/libcuda.so.1]",
  ],
  [
    "an empty sidecar",
    withSidecar({ sidecar: null }),
    "Cannot use clients.yaml: clients.0.sidecar is null: expected Object",
  ],
  ...["/lib/a.so", "lib/../a.so", "a.so:b.so", "lib/a.so b.so", "$ORIGIN/a.so", "lib//a.so", "../a.so"].map(
    (library): [string, unknown, string] => [
      `the library ${library}`,
      withSidecar({ sidecar: { image: "a", libraries: ["lib/a.so", library] } }),
      `Cannot use clients.yaml: clients.0.sidecar.libraries.1 is "${library}": ${LIBRARY}`,
    ],
  ),
])(
  "parseCatalogue() refuses %s and reports the file, the field, its value and what is expected",
  (_, document, message) => {
    const parse = () => parseCatalogue(document === "" ? "" : stringify(document), "clients.yaml");
    expect(parse).toThrow(ConfigError);
    expect(parse).toThrow(message);
  },
);

test("parseCatalogue() defaults tokens to true, env to an empty list, and binary to none", () => {
  const { binary: _, tokens: __, env: ___, ...rest } = testClient();
  const [parsed] = parseCatalogue(stringify({ default: rest.name, clients: [rest] }), "clients.yaml").clients;
  expect(parsed).toEqual({ ...rest, tokens: true, env: [] });
});

test("parseCatalogue() reports invalid YAML in one line", () => {
  let message = "";
  try {
    parseCatalogue("default: [", "clients.yaml");
  } catch (error) {
    message = String(error);
  }
  expect(message).toStartWith("ConfigError: Cannot read clients.yaml: ");
  expect(message).not.toContain("\n");
});

test("readCatalogue() reads a catalogue file", async () => {
  const directory = await mkdtemp(join(tmpdir(), "catalogue-"));
  const path = join(directory, "clients.yaml");
  await writeFile(path, stringify(catalogue));
  expect(await readCatalogue(path)).toEqual(catalogue);
  await rm(directory, { recursive: true });
});

test("readCatalogue() names the variable and the file if the file does not exist", async () => {
  const outcome = await readCatalogue("/nowhere/clients.yaml").then(String, String);
  expect(outcome).toStartWith('ConfigError: Cannot read CLIENTS_FILE="/nowhere/clients.yaml": ENOENT');
});
