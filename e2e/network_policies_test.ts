import { expect, test } from "bun:test";
import { readFile } from "node:fs/promises";
import { parse } from "yaml";
import { type Connection, type Endpoint, isAllowed, type NetworkPolicy } from "../kubernetes/network_policies.ts";
import { readManifests } from "./steps/manifests.ts";

const manifests = await readManifests(".");
const policies = manifests.filter(({ kind }) => kind === "NetworkPolicy") as unknown as NetworkPolicy[];
const PROGRAMS = ["webhook", "controller", "device-plugin"];
/** The programs that talk to pool servers. */
const POOL_PROGRAMS = ["controller", "device-plugin"];

/** A pod of a workload of the manifests. */
function program(name: string): Endpoint {
  const workload = manifests.find(({ spec, metadata }) => spec?.template && metadata.name === `bitfusion-${name}`);
  const ports: { name: string; containerPort: number }[] = workload?.spec.template.spec.containers.flatMap(
    ({ ports = [] }) => ports,
  );
  const portNumbers = Object.fromEntries(ports.map(({ name, containerPort }) => [name, containerPort]));
  return pod("10.244.1.2", workload?.metadata.namespace ?? "", workload?.spec.template.metadata.labels, portNumbers);
}

function pod(
  address: string,
  namespace: string,
  labels: Record<string, string> = {},
  ports: Record<string, number> = {},
): Endpoint {
  const namespaceLabels = { "kubernetes.io/metadata.name": namespace };
  return { address, pod: { namespace, labels, namespaceLabels, ports } };
}

const outside = (address: string): Endpoint => ({ address });
const API_SERVER = outside("172.18.0.2");
const POOL_SERVER = outside("172.18.0.9");
const TENANT = pod("10.244.2.7", "tenant");
const DNS = pod("10.244.0.3", "kube-system", { "k8s-app": "kube-dns" });

const tcp = (from: Endpoint, to: Endpoint, port: number): Connection => ({ from, to, protocol: "TCP", port });

test.each(PROGRAMS)("the %s reaches DNS, the API server, the pool if it needs it, and nothing else", (name) => {
  const from = program(name);
  for (const to of [DNS, outside("169.254.20.10")]) {
    expect(isAllowed(policies, { from, to, protocol: "UDP", port: 53 })).toBe(true);
    expect(isAllowed(policies, tcp(from, to, 53))).toBe(true);
  }
  for (const port of [443, 6443]) expect(isAllowed(policies, tcp(from, API_SERVER, port))).toBe(true);
  expect(isAllowed(policies, tcp(from, POOL_SERVER, 56001))).toBe(POOL_PROGRAMS.includes(name));
  for (const port of [22, 80, 2379, 10250]) expect(isAllowed(policies, tcp(from, API_SERVER, port))).toBe(false);
  expect(isAllowed(policies, tcp(from, TENANT, 5432))).toBe(false);
});

test.each(PROGRAMS)("the %s lets others reach its ports only", (name) => {
  const to = program(name);
  const ports = Object.values(to.pod?.ports ?? {});
  expect(ports).toContain(8080);
  for (const from of [API_SERVER, pod("10.244.0.8", "monitoring"), outside("2001:db8::1")]) {
    for (const port of ports) expect(isAllowed(policies, tcp(from, to, port))).toBe(true);
    for (const port of [22, 443, 9229]) expect(isAllowed(policies, tcp(from, to, port))).toBe(false);
  }
});

test("the policies admit nobody to the page of the console", async () => {
  const [deployment] = (await readManifests("console/page/deploy")).filter(({ kind }) => kind === "Deployment");
  const { metadata, spec } = deployment?.spec.template ?? {};
  const ports: { name: string; containerPort: number }[] = spec.containers[0].ports;
  const numbers = Object.fromEntries(ports.map(({ name, containerPort }) => [name, containerPort]));
  const to = pod("10.244.1.9", "bitfusion-system", metadata.labels, numbers);
  expect(numbers).toEqual({ http: 8000, metrics: 8080 });
  for (const from of [TENANT, API_SERVER, pod("10.244.0.8", "ingress-nginx")]) {
    expect(isAllowed(policies, tcp(from, to, 8000))).toBe(false);
    expect(isAllowed(policies, tcp(from, to, 8080))).toBe(true);
  }
  expect(isAllowed(policies, tcp(to, API_SERVER, 6443))).toBe(true);
});

test("the policies restrict no pod of others", () => {
  expect(isAllowed(policies, tcp(TENANT, pod("10.244.2.8", "tenant"), 5432))).toBe(true);
});

test("the policies allow the pool servers of kind/", async () => {
  const { configMapGenerator } = parse(await readFile("kind/kustomization.yaml", "utf8"));
  const servers = configMapGenerator
    .flatMap(({ literals }: { literals: string[] }) => literals)
    .filter((literal: string) => literal.startsWith("POOL_SERVERS="))
    .flatMap((literal: string) => literal.replace("POOL_SERVERS=", "").split(","));
  expect(servers).toHaveLength(4); // two, for both namespaces
  for (const server of servers) {
    const port = Number(server.split(":")[1]);
    for (const name of POOL_PROGRAMS) expect(isAllowed(policies, tcp(program(name), POOL_SERVER, port))).toBe(true);
  }
});

const policy = (spec: NetworkPolicy["spec"], namespace = "a"): NetworkPolicy => ({
  metadata: { name: "p", namespace },
  spec,
});
const [client, server] = [
  pod("10.0.0.1", "a", { app: "client" }),
  pod("10.0.0.2", "a", { app: "server" }, { web: 80 }),
];
const stranger = pod("10.0.0.3", "b", { app: "client" });

test.each<[what: string, policies: NetworkPolicy[], connection: Connection, expected: boolean]>([
  ["allows all without policies", [], tcp(client, server, 80), true],
  ["denies what a policy without rules selects", [policy({ podSelector: {} })], tcp(client, server, 80), false],
  ["ignores policies of other namespaces", [policy({ podSelector: {} }, "b")], tcp(client, server, 80), true],
  [
    "restricts no egress by ingress rules",
    [policy({ podSelector: {}, ingress: [{}] })],
    tcp(server, stranger, 1),
    true,
  ],
  ["restricts egress if a policy has egress rules", [policy({ egress: [] })], tcp(client, stranger, 1), false],
  [
    "needs both egress and ingress",
    [policy({ egress: [{}], policyTypes: ["Egress", "Ingress"] })],
    tcp(client, server, 80),
    false,
  ],
  [
    "adds up policies",
    [policy({ podSelector: {} }), policy({ podSelector: { matchLabels: { app: "server" } }, ingress: [{}] })],
    tcp(client, server, 80),
    true,
  ],
  [
    "selects peers of the policy's namespace by labels",
    [policy({ ingress: [{ from: [{ podSelector: { matchLabels: { app: "client" } } }] }] })],
    tcp(stranger, server, 80),
    false,
  ],
  [
    "selects peers by namespace and labels",
    [
      policy({
        ingress: [
          {
            from: [
              {
                namespaceSelector: {
                  matchExpressions: [{ key: "kubernetes.io/metadata.name", operator: "In", values: ["b"] }],
                },
                podSelector: { matchExpressions: [{ key: "app", operator: "NotIn", values: ["server"] }] },
              },
            ],
          },
        ],
      }),
    ],
    tcp(stranger, server, 80),
    true,
  ],
  [
    "selects addresses by block, with exceptions",
    [policy({ egress: [{ to: [{ ipBlock: { cidr: "10.0.0.0/8", except: ["10.0.0.3/32"] } }] }] })],
    tcp(client, stranger, 80),
    false,
  ],
  ["knows ports by name", [policy({ ingress: [{ ports: [{ port: "web" }] }] })], tcp(client, server, 80), true],
  [
    "knows ranges of ports",
    [policy({ ingress: [{ ports: [{ port: 70, endPort: 80 }] }] })],
    tcp(client, server, 81),
    false,
  ],
  [
    "tells protocols apart",
    [policy({ ingress: [{ ports: [{ port: 80, protocol: "UDP" }] }] })],
    tcp(client, server, 80),
    false,
  ],
])("isAllowed() %s", (_, given, connection, expected) => {
  expect(isAllowed(given, connection)).toBe(expected);
});
