import { afterEach, expect, test } from "bun:test";
import {
  connectWithKubeconfig,
  kubeconfigOf,
  type SimulatedApiServer,
  startSimulatedApiServer,
} from "../../kubernetes/simulated/api_server.ts";
import { readPool } from "./read.ts";

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const { signal } = new AbortController();
const forbidden = (message: string) =>
  Response.json({ kind: "Status", code: 403, message, details: { kind: "x" } }, { status: 403 });

async function start(refuse: (path: string) => Response | undefined = () => undefined) {
  const api = startSimulatedApiServer({ onRequest: ({ url }) => refuse(new URL(url).pathname) });
  cleanups.push(() => api[Symbol.asyncDispose]());
  fill(api);
  const { request } = await connectWithKubeconfig(kubeconfigOf(api.url));
  return { api, request };
}

function fill({ store }: SimulatedApiServer): void {
  const claim = (deviceClassName: string) => ({ spec: { devices: { requests: [{ exactly: { deviceClassName } }] } } });
  store.put("/apis/resource.k8s.io/v1/resourceslices/bitfusion-0", { spec: { driver: "bitfusion.io" } });
  store.put("/apis/resource.k8s.io/v1/resourceslices/other", { spec: { driver: "gpu.example" } });
  store.put("/apis/resource.k8s.io/v1/namespaces/team/resourceclaims/ours", claim("bitfusion.io"));
  store.put("/apis/resource.k8s.io/v1/namespaces/team/resourceclaims/other", claim("gpu.example"));
  store.put("/apis/resource.k8s.io/v1/namespaces/away/resourceclaims/ours", claim("bitfusion.io"));
  store.put("/api/v1/namespaces/team/pods/train", {
    metadata: { annotations: { "bitfusion.io/claims": "[]" }, managedFields: [{ manager: "x" }] },
    spec: { containers: [] },
  });
  store.put("/api/v1/namespaces/team/pods/plain", { spec: { containers: [] } });
  const event = (kind: string, type: string) => ({ involvedObject: { kind, name: "train" }, type });
  store.put("/api/v1/namespaces/team/events/a", event("Pod", "Warning"));
  store.put("/api/v1/namespaces/team/events/b", event("Pod", "Normal"));
  store.put("/api/v1/namespaces/team/events/c", event("Job", "Warning"));
  store.put("/api/v1/namespaces/team/events/d", { ...event("Job", "Warning"), reason: "FailedCreate" });
}

const keysOf = (objects: readonly { metadata: { namespace?: string; name: string } }[]) =>
  objects.map(({ metadata: { namespace, name } }) => (namespace ? `${namespace}/${name}` : name));

test("readPool() returns the objects of the pool in all namespaces, without managed fields", async () => {
  const { request } = await start();
  const { objects, unread } = await readPool({ request }, signal);
  expect(unread).toEqual([]);
  const { lacksClaims, ...lists } = objects;
  expect(lacksClaims).toBe(false);
  expect(Object.entries(lists).map(([kind, list]) => [kind, keysOf(list)])).toEqual([
    ["claims", ["team/ours", "away/ours"]],
    ["slices", ["bitfusion-0"]],
    ["pods", ["team/train"]],
    ["events", ["team/a", "team/d"]],
    ["taintRules", []],
  ]);
  expect(objects.pods?.[0]?.metadata).not.toContainKey("managedFields");
});

test("readPool() of a namespace reads the claims, pods and events of this namespace only", async () => {
  const { request } = await start();
  const { objects } = await readPool({ request, namespace: "away" }, signal);
  expect([keysOf(objects.slices ?? []), keysOf(objects.claims), keysOf(objects.pods ?? [])]).toEqual([
    ["bitfusion-0"],
    ["away/ours"],
    [],
  ]);
});

test("readPool() names the right that is missing, and returns what it may read", async () => {
  const reason = 'resourceslices.resource.k8s.io is forbidden: User "jane" cannot list resource "resourceslices"';
  const { request } = await start((path) => (path.endsWith("/resourceslices") ? forbidden(reason) : undefined));
  const { objects, unread } = await readPool({ request }, signal);
  expect(unread).toEqual([
    {
      kind: "slices",
      resource: "resourceslices.resource.k8s.io",
      isForbidden: true,
      message: `Cannot list resourceslices.resource.k8s.io: you lack the right (${reason}). Ask an administrator for the ClusterRole bitfusion-pool-viewer: docs/kubectl.md#rights`,
    },
  ]);
  expect(keysOf(objects.claims)).toEqual(["team/ours", "away/ours"]);
});

test("readPool() reads one namespace where it may not read all, and says so", async () => {
  const { request } = await start((path) => (path === "/api/v1/pods" ? forbidden("no") : undefined));
  const { objects, unread } = await readPool({ request, insteadOfAll: "team" }, signal);
  expect(keysOf(objects.pods ?? [])).toEqual(["team/train"]);
  expect(unread.map(({ kind, insteadOfAll, message }) => [kind, insteadOfAll, message.slice(0, 52)])).toEqual([
    ["pods", "team", "Cannot list pods in all namespaces: you lack the rig"],
  ]);
});

test("readPool() reads DeviceTaintRules of Kubernetes 1.36, and does without those of earlier versions", async () => {
  const missing = () => Response.json({ message: "the server could not find the requested resource" }, { status: 404 });
  const { api, request } = await start((path) => (path.includes("/v1/devicetaintrules") ? missing() : undefined));
  api.store.put("/apis/resource.k8s.io/v1beta2/devicetaintrules/x", { spec: { taint: {} } });
  expect(keysOf((await readPool({ request }, signal)).objects.taintRules ?? [])).toEqual(["x"]);
  const { request: older } = await start((path) => (path.includes("/devicetaintrules") ? missing() : undefined));
  expect(await readPool({ request: older }, signal)).toMatchObject({ unread: [], objects: { taintRules: [] } });
});
