import { expect, test } from "bun:test";
import { mkdtempDisposable, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ConfigError } from "../../program/config_error.ts";
import type { ServerEntry } from "./server_entry.ts";
import { parseServersConf, readServersConf } from "./servers_conf.ts";

test.each<[string, string, string[]]>([
  ["the first address of a server", "servers:\n- addresses: [10.0.0.1:56001, 192.168.0.1:56001]", ["10.0.0.1:56001"]],
  [
    "reachable in preference to addresses",
    "servers:\n- addresses: [10.0.0.1:56001]\n  reachable: 192.168.0.1:56001",
    ["192.168.0.1:56001"],
  ],
  ["reachable without addresses", "servers:\n- reachable: a:1", ["a:1"]],
  ["several servers in order", "servers:\n- reachable: b:1\n- addresses:\n  - a:1", ["b:1", "a:1"]],
  ["a repeated server once", "servers:\n- reachable: a:1\n- addresses: [a:1]\n- reachable: b:1", ["a:1", "b:1"]],
  ["servers with unknown fields", "version: 2\nservers:\n- reachable: a:1\n  id: x", ["a:1"]],
  ["an IPv6 address", 'servers:\n- reachable: "[fd00::1]:56001"', ["[fd00::1]:56001"]],
  ["JSON", '{"servers":[{"addresses":["a:1"]}]}', ["a:1"]],
])("parseServersConf() returns %s", (_, text, expected) => {
  expect(parseServersConf(text, "/x")).toEqual(expected.map((address) => ({ address })));
});

test("parseServersConf() returns the labels of the nodes that reach a server", () => {
  const text = "servers:\n- reachable: a:1\n  nodes: { topology.kubernetes.io/zone: a, rack: '7' }\n- reachable: b:1";
  const expected: ServerEntry[] = [
    { address: "a:1", nodes: { "topology.kubernetes.io/zone": "a", rack: "7" } },
    { address: "b:1" },
  ];
  expect(parseServersConf(text, "/x")).toEqual(expected);
});

const EXPECTED = "expected host:port, such as 10.202.122.248:56001";
const EXPECTED_LABELS =
  "expected 1 to 8 labels of nodes with their values, in quotes where they are numbers, such as topology.kubernetes.io/zone=a";

test.each<[string, string, string]>([
  ["an address without a port", "servers:\n- addresses: [a]", `servers.0.addresses.0 is "a": ${EXPECTED}`],
  ["an address that is a number", "servers:\n- addresses: [a:1, 5]", `servers.0.addresses.1 is 5: ${EXPECTED}`],
  [
    "an invalid port in reachable",
    "servers:\n- reachable: a:1\n- reachable: b:0",
    `servers.1.reachable is "b:0": ${EXPECTED}`,
  ],
  [
    "addresses that are not a list",
    "servers:\n- addresses: a:1",
    'servers.0.addresses is "a:1": expected a list of addresses',
  ],
  ["a server without addresses", "servers:\n- addresses: []", 'servers.0 is {"addresses":[]}: expected addresses'],
  ["a server that is not a mapping", "servers:\n- a:1", 'servers.0 is "a:1": expected addresses'],
  ["servers that are not a list", "servers: a:1", 'servers is "a:1": expected a list of servers'],
  ["an empty list of servers", "servers: []", "servers is []: expected at least one server"],
  ["servers that are not set", "{}", "servers is not set: expected a list under the key servers"],
  ["an empty document", "", "the document: expected a list under the key servers"],
  ["nodes without a label", "servers:\n- reachable: a:1\n  nodes: {}", `servers.0.nodes is {}: ${EXPECTED_LABELS}`],
  [
    "nodes with a value that no label has",
    "servers:\n- reachable: a:1\n  nodes: { zone: a b }",
    `servers.0.nodes is {"zone":"a b"}: ${EXPECTED_LABELS}`,
  ],
  [
    "a label with a number as value",
    "servers:\n- reachable: a:1\n  nodes: { rack: 7 }",
    `servers.0.nodes.rack is 7: ${EXPECTED_LABELS}`,
  ],
  [
    "a server with two lists of labels",
    "servers:\n- reachable: a:1\n- reachable: a:1\n  nodes: { zone: a }",
    "a server is named twice with different nodes: expected each server once",
  ],
  ["a document that is a string", "a:1", "the document: expected a list under the key servers"],
])("parseServersConf() names the invalid field: %s", (_, text, message) => {
  expect(() => parseServersConf(text, "/x/servers.conf")).toThrow(
    new ConfigError(`Cannot use /x/servers.conf: ${message}`),
  );
});

test("parseServersConf() reports the position of a YAML syntax error in one line", () => {
  expect(() => parseServersConf("servers:\n- [", "/x/servers.conf")).toThrow(
    expect.objectContaining({
      name: "ConfigError",
      message: expect.stringMatching(/^Cannot read \/x\/servers\.conf: .+ at line 2.*$/),
    }),
  );
});

test("readServersConf() reads a file, and names a file that is missing or invalid", async () => {
  await using directory = await mkdtempDisposable(join(tmpdir(), "servers-conf-"));
  const path = join(directory.path, "servers.conf");
  const read = () => readServersConf(path).catch((error) => `${error.name}: ${error.message}`);
  expect(await read()).toStartWith(`ConfigError: Cannot read the pool's servers from ${path}: ENOENT`);
  await writeFile(path, "servers: []");
  expect(await read()).toBe(`ConfigError: Cannot use ${path}: servers is []: expected at least one server`);
  await writeFile(path, "servers:\n- reachable: a:1");
  expect(await read()).toEqual([{ address: "a:1" }]);
});
