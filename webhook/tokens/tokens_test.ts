import { afterEach, expect, test } from "bun:test";
import type { V1Secret } from "@kubernetes/client-node";
import {
  connectWithKubeconfig,
  kubeconfigOf,
  type SimulatedApiServer,
  startSimulatedApiServer,
} from "../../kubernetes/simulated/api_server.ts";
import { silentLog } from "../../program/testing.ts";
import { createMetrics } from "../review/metrics.ts";
import { assumeTokenExists, createTokenCopier, type EnsureToken } from "./tokens.ts";

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const SOURCE = "/api/v1/namespaces/kube-system/secrets/bitfusion-secret";
const COPY = "/api/v1/namespaces/team/secrets/bitfusion-secret";
const TOKEN = { "ca.crt": "Y2E=", "client.yaml": "Y2xpZW50", "servers.conf": "c2VydmVycw==" };
const OWNER = { apiVersion: "v1", kind: "Namespace", name: "bitfusion-system", uid: "1" };
const OWNED = { ownerReferences: [OWNER] };
const LABELS = { "app.kubernetes.io/managed-by": "bitfusion-webhook" };

/** Starts an API server with these Secrets. Returns it with a token copier. */
async function start(
  secrets: Record<string, V1Secret>,
  onRequest?: (request: Request, api: SimulatedApiServer) => Response | undefined | Promise<Response>,
): Promise<{
  api: SimulatedApiServer;
  copyToken: EnsureToken;
  ensureToken: (namespace: string) => Promise<void>;
  counted: () => Promise<unknown>;
}> {
  const api: SimulatedApiServer = startSimulatedApiServer({ onRequest: (request) => onRequest?.(request, api) });
  cleanups.push(() => api[Symbol.asyncDispose]());
  for (const [path, secret] of Object.entries(secrets)) api.store.put(path, secret);
  const { core } = await connectWithKubeconfig(kubeconfigOf(api.url));
  const { tokenCopies: copies } = createMetrics({ poolUnits: () => undefined });
  const counted = async () =>
    Object.fromEntries((await copies.get()).values.map(({ labels, value }) => [labels.operation, value]));
  const copyToken = createTokenCopier({ core, owner: () => OWNER, log: silentLog, copies });
  return { api, copyToken, ensureToken: (namespace) => copyToken(namespace, AbortSignal.timeout(4000)), counted };
}

function written({ requests }: SimulatedApiServer): string[] {
  return requests.filter((request) => !request.startsWith("GET"));
}

test("createTokenCopier() copies the token into a namespace without one, with a label and an owner", async () => {
  const { api, ensureToken } = await start({ [SOURCE]: { data: TOKEN, metadata: { labels: { secret: "yes" } } } });
  await ensureToken("team");
  expect(api.store.get<V1Secret>(COPY)).toMatchObject({
    type: "Opaque",
    data: TOKEN,
    metadata: { labels: LABELS, ...OWNED },
  });
  expect(written(api)).toEqual(["POST /api/v1/namespaces/team/secrets"]);
});

test("createTokenCopier() copies the identity for pods only, in place of the cluster's, if the token has one", async () => {
  const { api, ensureToken } = await start({ [SOURCE]: { data: { ...TOKEN, "pod-client.yaml": "cG9k" } } });
  await ensureToken("team");
  expect(api.store.get<V1Secret>(COPY)?.data).toEqual({ ...TOKEN, "client.yaml": "cG9k" });
  await ensureToken("team");
  expect(written(api)).toHaveLength(1);
});

test("createTokenCopier() writes nothing if the copy is up to date", async () => {
  const { api, ensureToken, counted } = await start({ [SOURCE]: { data: TOKEN } });
  await ensureToken("team");
  await ensureToken("team");
  expect(written(api)).toHaveLength(1);
  expect(await counted()).toEqual({ create: 1 });
});

test("createTokenCopier() updates the copy when the token changes, unlike the original", async () => {
  const metadata = { labels: LABELS, annotations: { note: "keep" }, ...OWNED };
  const { api, ensureToken, counted } = await start({
    [SOURCE]: { data: TOKEN },
    [COPY]: { data: { ...TOKEN, "ca.crt": "b2xk", removed: "eA==" }, type: "Opaque", metadata },
  });
  await ensureToken("team");
  expect(api.store.get<V1Secret>(COPY)).toMatchObject({ type: "Opaque", metadata });
  expect(api.store.get<V1Secret>(COPY)?.data).toEqual(TOKEN);
  expect(written(api)).toEqual([`PUT /api/v1/namespaces/team/secrets/bitfusion-secret`]);
  expect(await counted()).toEqual({ update: 1 });
});

test.each<[description: string, labels: Record<string, string> | undefined]>([
  ["without labels", undefined],
  ["that another program manages", { "app.kubernetes.io/managed-by": "Helm" }],
])("createTokenCopier() leaves a Secret %s alone: it belongs to the namespace", async (_, labels) => {
  const own: V1Secret = { data: { "ca.crt": "b3du" }, ...(labels ? { metadata: { labels } } : {}) };
  const { api, ensureToken } = await start({ [SOURCE]: { data: TOKEN }, [COPY]: own });
  await ensureToken("team");
  expect(api.store.get<V1Secret>(COPY)?.data).toEqual({ "ca.crt": "b3du" });
  expect(written(api)).toEqual([]);
});

test("createTokenCopier() refuses the pod if there is no token, and explains how to create it", async () => {
  const { api, ensureToken } = await start({});
  expect(await ensureToken("team").then(String, String)).toBe(
    "Refusal: The pool's token is missing: create it with kubectl create secret generic bitfusion-secret --from-file=DIR -n kube-system",
  );
  expect(written(api)).toEqual([]);
});

test("createTokenCopier() succeeds if another replica creates the copy first", async () => {
  const { api, ensureToken } = await start({ [SOURCE]: { data: TOKEN } }, ({ method }, { store }) => {
    if (method === "POST") store.put(COPY, { data: TOKEN, metadata: { labels: LABELS } });
    return undefined;
  });
  await ensureToken("team");
  expect(written(api)).toHaveLength(1);
});

test.each<[what: string, metadata: V1Secret["metadata"]]>([
  ["an earlier version has created without an owner", {}],
  ["belongs to an earlier namespace", { ownerReferences: [{ ...OWNER, uid: "0" }] }],
  ["a tenant has given another owner", { ownerReferences: [OWNER, { ...OWNER, name: "team" }] }],
])("createTokenCopier() gives a copy that %s to the namespace of the webhook", async (_, metadata) => {
  const copy = { data: TOKEN, metadata: { labels: LABELS, ...metadata } };
  const { api, ensureToken } = await start({ [SOURCE]: { data: TOKEN }, [COPY]: copy });
  await ensureToken("team");
  expect(api.store.get<V1Secret>(COPY)).toMatchObject({ data: TOKEN, metadata: { labels: LABELS, ...OWNED } });
  await ensureToken("team");
  expect(written(api)).toHaveLength(1);
});

test("createTokenCopier() copies nothing while the owner is not known", async () => {
  const { api } = await start({ [SOURCE]: { data: TOKEN } });
  const { core } = await connectWithKubeconfig(kubeconfigOf(api.url));
  const { tokenCopies: copies } = createMetrics({ poolUnits: () => undefined });
  const ensureToken = createTokenCopier({ core, owner: () => undefined, log: silentLog, copies });
  expect(await ensureToken("team", AbortSignal.timeout(4000)).then(String, String)).toBe(
    "Error: Not known yet which namespace owns the copies of the token",
  );
  expect(api.requests).toEqual([]);
});

test("createTokenCopier() updates a copy once if several pods are created at the same time", async () => {
  const before = { data: { "ca.crt": "b2xk" }, metadata: { labels: LABELS } };
  const { api, ensureToken } = await start({ [SOURCE]: { data: TOKEN }, [COPY]: before });
  await Promise.all(Array.from({ length: 8 }, () => ensureToken("team")));
  expect(api.store.get<V1Secret>(COPY)?.data).toEqual(TOKEN);
  expect(api.store.get<V1Secret>(COPY)?.metadata?.resourceVersion).toBe("3"); // the source, the copy, and one update
});

test("createTokenCopier() does not overwrite a copy that another writer has replaced since it was read", async () => {
  const before = { data: { "ca.crt": "b2xk" }, metadata: { labels: LABELS } };
  const { api, ensureToken } = await start({ [SOURCE]: { data: TOKEN }, [COPY]: before }, ({ method }, { store }) => {
    if (method === "PUT") store.put(COPY, { data: { "ca.crt": "bmV3" } });
    return undefined;
  });
  await ensureToken("team");
  expect(api.store.get<V1Secret>(COPY)?.data).toEqual({ "ca.crt": "bmV3" });
});

test("createTokenCopier() throws errors of the API server, unlike the original", async () => {
  const { ensureToken } = await start({}, () => Response.json({ message: "forbidden" }, { status: 403 }));
  expect(await ensureToken("team").then(String, String)).toContain("403");
});

test.each([
  ["the source", () => true, "GET /api/v1/namespaces/kube-system/secrets/bitfusion-secret"],
  ["the copy", (url: string) => url.includes("/team/"), "GET /api/v1/namespaces/team/secrets/bitfusion-secret"],
  ["the write", (_: string, method: string) => method === "POST", "POST /api/v1/namespaces/team/secrets"],
])("createTokenCopier() ends with its signal if %s is not answered, and names the call", async (_, hangs, call) => {
  const never = new Promise<Response>(() => {});
  const { copyToken } = await start({ [SOURCE]: { data: TOKEN } }, ({ url, method }) =>
    hangs(url, method) ? never : undefined,
  );
  const copied = copyToken("team", AbortSignal.timeout(500));
  expect(await copied.then(String, String)).toBe(`Error: ${call} was not answered in time`);
});

test("assumeTokenExists() sends no request", async () => {
  expect(await assumeTokenExists("team", AbortSignal.timeout(4000))).toBeUndefined();
});
