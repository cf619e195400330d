import { expect, test } from "bun:test";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { stringify } from "yaml";
import { ConfigError } from "../../program/config_error.ts";
import { Refusal } from "../pod/refusal.ts";
import { lupineClient, testCatalogue, testClient } from "../testing.ts";
import { type Catalogue, type CopiedClient, chooseClient, parseCatalogue, readCatalogue } from "./catalogue.ts";

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

test("parseCatalogue() reads all fields", () => {
  const all = {
    ...catalogue,
    clients: [...catalogue.clients, { ...first, dataPlane: { name: "lupine", build: "1" } }],
  };
  expect(parseCatalogue(stringify(all), "clients.yaml")).toEqual(all as Catalogue);
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

const OS = "bitfusion-client/os";
const VERSION = "bitfusion-client/version";

test.each<[annotations: Record<string, string>, name: string]>([
  [{}, "focal"],
  [{ [OS]: "ubuntu18" }, "bionic"],
  [{ [OS]: "ubuntu20" }, "focal"],
  [{ [VERSION]: "450" }, "focal"],
  [{ [VERSION]: "401" }, "focal-old"],
  [{ [OS]: "ubuntu18", [VERSION]: "450" }, "bionic"],
  [{ "auto-management/bitfusion": "yes" }, "focal"],
])("chooseClient() chooses for %j the client %s", (annotations, name) => {
  expect(chooseClient(catalogue, annotations, "units").name).toBe(name);
});

const KNOWN = "expected one of ubuntu18 450, ubuntu20 450, ubuntu20 401";

test.each<[annotations: Record<string, string>, message: string]>([
  [{ [OS]: "centos9" }, `No client has ${OS} "centos9": ${KNOWN}`],
  [{ [VERSION]: "" }, `No client has ${VERSION} "": ${KNOWN}`],
  [{ [OS]: "ubuntu18", [VERSION]: "401" }, `No client has ${OS} "ubuntu18" and ${VERSION} "401": ${KNOWN}`],
])("chooseClient() refuses %j and lists the known clients", (annotations, message) => {
  expect(() => chooseClient(catalogue, annotations, "units")).toThrow(new Refusal("client", message));
});

test("chooseClient() leaves out the token where the driver takes the leases, and refuses a client that takes its own", () => {
  const own = testClient({ name: "own", os: "own", leases: false });
  const clients = testCatalogue(testClient(), own, lupineClient());
  const choose = (os: string) => chooseClient(clients, { "bitfusion-client/os": os }, "claims");
  const attached = choose("linux");
  expect(attached.tokens).toBe(false);
  expect(attached.mounts.map(({ volume }) => volume)).toEqual(["client", "opt"]);
  expect(choose("linux")).toBe(attached);
  expect(choose("lupine")).toEqual(lupineClient());
  expect(() => choose("own")).toThrow("The client own takes its own leases, but with claims the driver takes them");
});
