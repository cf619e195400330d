import { expect, test } from "bun:test";
import { ConfigError } from "../../program/config_error.ts";
import { parseConfiguration } from "./configuration.ts";

const TLS = "tls: { ca: ca.crt, caKey: ca.key }\n";

test("parseConfiguration() returns clients with their GPUs", () => {
  const text = `${TLS}clients:
- { name: cluster-a, gpus: [0-2, 5], podUnits: 150 }
- { name: cluster-b, gpus: [3] }
`;
  expect(parseConfiguration(text, "/x")).toEqual({
    tls: { ca: "ca.crt", caKey: "ca.key" },
    clients: [
      { name: "cluster-a", gpus: [0, 1, 2, 5], podUnits: 150 },
      { name: "cluster-b", gpus: [3], podUnits: 0 },
    ],
  });
});

test("parseConfiguration() accepts one client with all GPUs, none at all, and a certificate in files", () => {
  const clients = (text: string) => parseConfiguration(`${TLS}clients: ${text}`, "/x").clients;
  expect(clients("[{ name: a, gpus: all }]")).toEqual([{ name: "a", gpus: "all", podUnits: 0 }]);
  expect(clients("[]")).toEqual([]);
  const { tls } = parseConfiguration("tls: { ca: a, cert: b, key: c }\nclients: []", "/x");
  expect(tls).toEqual({ ca: "a", cert: "b", key: "c" });
});

const GPUS = "expected all, or a list of numbers and ranges from 0 to 1023, such as [0, 2-3]";

test.each([
  ["an empty file", "", "the document is null: expected a mapping with the keys tls and clients"],
  ["a missing key", "clients: []", "tls is not set: expected a mapping with the keys tls and clients"],
  ["an unknown key", `${TLS}clients: []\nclient: []`, "client is not a known field"],
  ["no key of the CA", "tls: { ca: a }\nclients: []", "tls: expected caKey, or cert and key"],
  ["a certificate without its key", "tls: { ca: a, cert: b }\nclients: []", "tls: expected caKey, or cert and key"],
  [
    "two sources of the certificate",
    "tls: { ca: a, caKey: b, cert: c, key: d }\nclients: []",
    "tls: expected caKey, or cert and key",
  ],
  ["clients that are no list", `${TLS}clients: a`, 'clients is "a": expected a list of clients'],
  [
    "a name with spaces",
    `${TLS}clients: [{ name: a b, gpus: all }]`,
    'clients.0.name is "a b": expected 1 to 63 letters, digits, dots, dashes and underscores',
  ],
  ["no GPUs", `${TLS}clients: [{ name: a }]`, "clients.0.gpus is not set"],
  ["a range that goes down", `${TLS}clients: [{ name: a, gpus: [3-1] }]`, `clients.0.gpus: ${GPUS}`],
  ["a number that is too high", `${TLS}clients: [{ name: a, gpus: [1024] }]`, `clients.0.gpus: ${GPUS}`],
  ["text in place of a list", `${TLS}clients: [{ name: a, gpus: 0-1 }]`, `clients.0.gpus is "0-1": ${GPUS}`],
  [
    "a part of a unit",
    `${TLS}clients: [{ name: a, gpus: all, podUnits: 0.5 }]`,
    "clients.0.podUnits is 0.5: expected a whole number of units from 0 to 102400",
  ],
  [
    "two clients of one name",
    `${TLS}clients: [{ name: a, gpus: [0] }, { name: a, gpus: [1] }]`,
    'clients.1.name is "a", as clients.0.name: expected different names',
  ],
  [
    "one GPU of two clients",
    `${TLS}clients: [{ name: a, gpus: [0-3] }, { name: b, gpus: [5, 2] }]`,
    "clients.1.gpus and clients.0.gpus both have GPU 2: expected one client for each GPU",
  ],
  [
    "one GPU of a client with all",
    `${TLS}clients: [{ name: a, gpus: all }, { name: b, gpus: [1] }]`,
    "clients.1.gpus and clients.0.gpus both have GPU 1: expected one client for each GPU",
  ],
  [
    "two clients with all GPUs",
    `${TLS}clients: [{ name: a, gpus: all }, { name: b, gpus: all }]`,
    "clients.1.gpus and clients.0.gpus both have GPU 0: expected one client for each GPU",
  ],
])("parseConfiguration() rejects %s", (_, text, reason) => {
  expect(() => parseConfiguration(text, "/x")).toThrow(new ConfigError(`Cannot use /x: ${reason}`));
});

test("parseConfiguration() names the position of invalid YAML", () => {
  expect(() => parseConfiguration("a: [\nb", "/x")).toThrow(/^Cannot read \/x: .+ at line 2/);
});
