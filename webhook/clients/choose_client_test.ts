import { expect, test } from "bun:test";
import type { Container } from "../pod/pod.ts";
import { Refusal } from "../pod/refusal.ts";
import { gpu, libraryClient, sidecarClient, testCatalogue, testClient } from "../testing.ts";
import type { Catalogue, CopiedClient } from "./catalogue.ts";
import { type ClientChoice, chooseClient } from "./choose_client.ts";

const client = (name: string, os: string, version: string) => testClient({ name, os, version });

const catalogue: Catalogue = {
  default: "focal",
  clients: [
    client("bionic", "ubuntu18", "450"),
    client("focal", "ubuntu20", "450"),
    client("focal-old", "ubuntu20", "401"),
  ],
};

function choose(annotations: Record<string, string>, from = catalogue, choice: Partial<ClientChoice> = {}) {
  return chooseClient(from, { annotations, mode: "full", allocation: "units", containers: [gpu()], ...choice });
}

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
  expect(choose(annotations).name).toBe(name);
});

const KNOWN = "expected one of ubuntu18 450, ubuntu20 450, ubuntu20 401";

test.each<[annotations: Record<string, string>, message: string]>([
  [{ [OS]: "centos9" }, `No client has ${OS} "centos9": ${KNOWN}`],
  [{ [VERSION]: "" }, `No client has ${VERSION} "": ${KNOWN}`],
  [{ [OS]: "ubuntu18", [VERSION]: "401" }, `No client has ${OS} "ubuntu18" and ${VERSION} "401": ${KNOWN}`],
])("chooseClient() refuses %j and lists the known clients", (annotations, message) => {
  expect(() => choose(annotations)).toThrow(new Refusal("client", message));
});

test("chooseClient() leaves out the token where the driver takes the leases, and refuses a client that takes its own", () => {
  const own = testClient({ name: "own", os: "own", leases: false });
  const clients = testCatalogue(testClient(), own, libraryClient());
  const chooseOs = (os: string) => choose({ [OS]: os }, clients, { allocation: "claims" });
  const attached = chooseOs("linux") as CopiedClient;
  expect(attached.tokens).toBe(false);
  expect(attached.mounts.map(({ volume }) => volume)).toEqual(["client", "opt"]);
  expect(chooseOs("linux")).toBe(attached);
  expect(chooseOs("library")).toEqual(libraryClient());
  expect(() => chooseOs("own")).toThrow("The client own takes its own leases, but with claims the driver takes them");
});

const both = testCatalogue(
  testClient(),
  libraryClient(),
  sidecarClient({ name: "first", version: "2" }),
  sidecarClient({ name: "second", version: "1" }),
);
const bare: Container = { name: "notebook" };

test.each<[description: string, annotations: Record<string, string>, choice: Partial<ClientChoice>, name: string]>([
  ["the default, if all containers have a command", {}, {}, "simulated"],
  ["a client with sidecar, if no container has a command", {}, { containers: [bare] }, "first"],
  ["a client with sidecar, if one container has no command", {}, { containers: [gpu(), bare] }, "first"],
  ["a client with sidecar, if a command is empty", {}, { containers: [gpu({ command: [] })] }, "first"],
  ["the client with sidecar that the version allows", { [VERSION]: "1" }, { containers: [bare] }, "second"],
  ["the client of the system, if it has no sidecar", { [OS]: "linux" }, { containers: [bare] }, "simulated"],
  ["the client of the system, if it leaves commands alone", { [OS]: "library" }, { containers: [bare] }, "library"],
  ["the default, if commands are left alone", {}, { containers: [bare], mode: "injection" }, "simulated"],
  ["the default without claims", {}, { containers: [bare], allocation: "units" }, "simulated"],
  ["the client of the system, also for containers with a command", { [OS]: "lupine" }, {}, "first"],
])("chooseClient() chooses %s", (_, annotations, choice, name) => {
  expect(choose(annotations, both, { allocation: "claims", ...choice }).name).toBe(name);
});

test("chooseClient() refuses a client that is attached by sidecar without claims", () => {
  const message =
    "The client first is attached by sidecar, which needs claims, but this cluster counts units: choose another client";
  expect(() => choose({ [OS]: "lupine" }, both)).toThrow(new Refusal("client", message));
});
