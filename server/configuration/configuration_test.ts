import { expect, test } from "bun:test";
import { hostname } from "node:os";
import { ConfigError } from "../../program/config_error.ts";
import { parseConfiguration, partsForRestart } from "./configuration.ts";

const GPUS = "gpus: { simulated: {} }\n";
const TLS = "tls: { ca: ca.crt, caKey: ca.key }\n";
const CLIENTS = "clients: []\n";
const MINIMAL = GPUS + TLS + CLIENTS;

test("parseConfiguration() fills in the defaults", () => {
  expect(parseConfiguration(MINIMAL, "/x")).toEqual({
    name: hostname(),
    listen: { port: 56_001 },
    gpus: {
      simulated: {
        count: 1,
        memory: 16_000,
        model: "Simulated GPU",
        cudaVersion: "12.4",
        driverVersion: "550.54.15",
      },
    },
    hasRdma: false,
    leases: { timeToLive: 300_000, podTimeToLive: 15_000 },
    gate: { port: 56_002 },
    tls: { ca: "ca.crt", caKey: "ca.key" },
    clients: [],
    drain: false,
  });
});

test("parseConfiguration() returns clients with their GPUs", () => {
  const text = `${GPUS}${TLS}clients:
- { name: cluster-a, gpus: [0-2, 5], podUnits: 150 }
- { name: cluster-b, gpus: [3] }
`;
  expect(parseConfiguration(text, "/x").clients).toEqual([
    { name: "cluster-a", gpus: [0, 1, 2, 5], podUnits: 150 },
    { name: "cluster-b", gpus: [3], podUnits: 0 },
  ]);
});

test("parseConfiguration() accepts one client with all GPUs, a certificate in files, and memory in MB", () => {
  const text = `gpus: { simulated: { memory: 8000 } }
tls: { ca: a, cert: b, key: c }
clients: [{ name: a, gpus: all }]
`;
  const { gpus, tls, clients } = parseConfiguration(text, "/x");
  expect(gpus).toMatchObject({ simulated: { memory: 8000 } });
  expect(tls).toEqual({ ca: "a", cert: "b", key: "c" });
  expect(clients).toEqual([{ name: "a", gpus: "all", podUnits: 0 }]);
});

test("parseConfiguration() accepts the UUIDs of NVIDIA GPUs and MIG devices", () => {
  const uuids = ["GPU-8dee6ce5-8b1e-4d5c-a8c6-1d7ee2e6a6ab", "MIG-c7384736-a75d-5afc-978f-d2f1294409fd"];
  const text = `gpus: { nvidia: {} }\n${TLS}clients: [{ name: a, gpus: [${uuids}] }, { name: b, gpus: [MIG-GPU-5/1/0] }]`;
  const { gpus, clients } = parseConfiguration(text, "/x");
  expect(gpus).toEqual({ nvidia: { library: "libnvidia-ml.so.1" } });
  expect(clients.map((client) => client.gpus)).toEqual([uuids, ["MIG-GPU-5/1/0"]]);
});

const EXPECTED_GPUS = "expected all, a list of UUIDs, or a list of numbers and ranges from 0 to 1023, such as [0, 2-3]";
const EXPECTED_TIME = "expected a duration from 100ms to 1h, such as 5m or 1m30s";
const simulated = (fields: string) => `gpus: { simulated: { ${fields} } }\n${TLS}${CLIENTS}`;

test.each([
  ["an empty file", "", "the document is null: expected a mapping with the keys gpus, tls and clients"],
  ["a missing key", GPUS + CLIENTS, "tls is not set: expected a mapping with the keys gpus, tls and clients"],
  ["an unknown key", `${MINIMAL}client: []`, "client is not a known field"],
  [
    "a name with spaces",
    `${MINIMAL}name: gpu 1`,
    'name is "gpu 1": expected 1 to 253 letters, digits, dots, dashes and underscores',
  ],
  [
    "a port in quotes",
    `${MINIMAL}listen: { port: "56001" }`,
    'listen.port is "56001": expected a whole number from 0 to 65535',
  ],
  ["a host name to listen on", `${MINIMAL}listen: { host: a.b }`, 'listen.host is "a.b": expected an IP address'],
  ["no kind of GPUs", `gpus: {}\n${TLS}${CLIENTS}`, "gpus: expected either nvidia or simulated"],
  [
    "two kinds of GPUs",
    `gpus: { nvidia: {}, simulated: {} }\n${TLS}${CLIENTS}`,
    "gpus: expected either nvidia or simulated",
  ],
  ["nothing for nvidia", `gpus: { nvidia: }\n${TLS}${CLIENTS}`, "gpus.nvidia is null: expected a mapping, such as {}"],
  [
    "numbers of NVIDIA GPUs",
    `gpus: { nvidia: {} }\n${TLS}clients: [{ name: a, gpus: [0-1] }]`,
    "clients: expected UUIDs of GPUs, as nvidia-smi -L shows them, or all: with gpus.nvidia, numbers may change when the machine restarts",
  ],
  [
    "a negative number of GPUs",
    simulated("count: -1"),
    "gpus.simulated.count is -1: expected a whole number of GPUs from 0 to 1024",
  ],
  [
    "memory with a wrong suffix",
    simulated("memory: 16GB"),
    'gpus.simulated.memory is "16GB": expected the memory of one GPU: MB, or a quantity such as 16G',
  ],
  [
    "a version that YAML reads as a number",
    simulated("cudaVersion: 12.4"),
    "gpus.simulated.cudaVersion is 12.4: expected text, in quotes",
  ],
  ["text for a truth value", `${MINIMAL}hasRdma: "yes"`, 'hasRdma is "yes": expected true or false'],
  ["a duration without a unit", `${MINIMAL}leases: { timeToLive: 300 }`, `leases.timeToLive is 300: ${EXPECTED_TIME}`],
  [
    "a duration that is too short",
    `${MINIMAL}leases: { podTimeToLive: 0s }`,
    `leases.podTimeToLive is "0s": ${EXPECTED_TIME}`,
  ],
  ["no key of the CA", `${GPUS}${CLIENTS}tls: { ca: a }`, "tls: expected caKey, or cert and key"],
  ["a certificate without its key", `${GPUS}${CLIENTS}tls: { ca: a, cert: b }`, "tls: expected caKey, or cert and key"],
  [
    "two sources of the certificate",
    `${GPUS}${CLIENTS}tls: { ca: a, caKey: b, cert: c, key: d }`,
    "tls: expected caKey, or cert and key",
  ],
])("parseConfiguration() rejects %s", (_, text, reason) => {
  expect(() => parseConfiguration(text, "/x")).toThrow(new ConfigError(`Cannot use /x: ${reason}`));
});

test.each([
  ["that are no list", "a", 'clients is "a": expected a list of clients'],
  [
    "with spaces in a name",
    "[{ name: a b, gpus: all }]",
    'clients.0.name is "a b": expected 1 to 63 letters, digits, dots, dashes and underscores',
  ],
  ["without GPUs", "[{ name: a }]", "clients.0.gpus is not set"],
  ["with a range that goes down", "[{ name: a, gpus: [3-1] }]", `clients.0.gpus: ${EXPECTED_GPUS}`],
  ["with a number that is too high", "[{ name: a, gpus: [1024] }]", `clients.0.gpus: ${EXPECTED_GPUS}`],
  ["with text in place of a list", "[{ name: a, gpus: 0-1 }]", `clients.0.gpus is "0-1": ${EXPECTED_GPUS}`],
  [
    "with a part of a unit",
    "[{ name: a, gpus: all, podUnits: 0.5 }]",
    "clients.0.podUnits is 0.5: expected a whole number of units from 0 to 102400",
  ],
  [
    "of one name",
    "[{ name: a, gpus: [0] }, { name: a, gpus: [1] }]",
    'clients: expected different names, but clients.0 and clients.1 both have "a"',
  ],
  [
    "that share a GPU",
    "[{ name: a, gpus: [0-3] }, { name: b, gpus: [5, 2] }]",
    "clients: expected one client for each GPU, but clients.0 and clients.1 both have GPU 2",
  ],
  [
    "that share a GPU, as one has all",
    "[{ name: a, gpus: all }, { name: b, gpus: [1] }]",
    "clients: expected one client for each GPU, but clients.0 and clients.1 both have GPU 1",
  ],
  [
    "that both have all GPUs",
    "[{ name: a, gpus: all }, { name: b, gpus: all }]",
    "clients: expected one client for each GPU, but clients.0 and clients.1 both have GPU 0",
  ],
])("parseConfiguration() rejects clients %s", (_, clients, reason) => {
  const text = `${GPUS}${TLS}clients: ${clients}`;
  expect(() => parseConfiguration(text, "/x")).toThrow(new ConfigError(`Cannot use /x: ${reason}`));
});

test("parseConfiguration() names the position of invalid YAML", () => {
  expect(() => parseConfiguration("a: [\nb", "/x")).toThrow(/^Cannot read \/x: .+ at line 2/);
});

test.each([
  ["nothing", MINIMAL, []],
  ["clients and certificates", `${GPUS}tls: { ca: a, cert: b, key: c }\nclients: [{ name: a, gpus: all }]`, []],
  ["the port and the GPUs", `${simulated("count: 2")}listen: { port: 1 }`, ["listen", "gpus"]],
])("partsForRestart() returns what a server does not take over when %s changed", (_, text, parts) => {
  expect(partsForRestart(parseConfiguration(MINIMAL, "/x"), parseConfiguration(text, "/x"))).toEqual(parts);
});
