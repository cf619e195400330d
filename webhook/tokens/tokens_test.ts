import { afterEach, expect, test } from "bun:test";
import type { V1Secret } from "@kubernetes/client-node";
import {
  connectWith,
  kubeconfigOf,
  type SimulatedApiServer,
  startSimulatedApiServer,
} from "../../kubernetes/simulated/api_server.ts";
import { silentLog } from "../../program/testing.ts";
import { createMetrics } from "../review/metrics.ts";
import { createTokenCopier, type EnsureTokens, tokensAreThere } from "./tokens.ts";

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const SOURCE = "kube-system/bitfusion-secret";
const COPY = "team/bitfusion-secret";
const TOKENS = { "ca.crt": "Y2E=", "client.yaml": "Y2xpZW50", "servers.conf": "c2VydmVycw==" };
const OURS = { "app.kubernetes.io/managed-by": "bitfusion-webhook" };

/** A copier on an API server that holds these Secrets. */
async function start(
  secrets: Record<string, V1Secret>,
  onRequest?: (request: Request, api: SimulatedApiServer) => Response | undefined,
): Promise<{ api: SimulatedApiServer; ensureTokens: EnsureTokens; counted: () => Promise<unknown> }> {
  const api: SimulatedApiServer = startSimulatedApiServer({ onRequest: (request) => onRequest?.(request, api) });
  cleanups.push(() => api[Symbol.asyncDispose]());
  for (const [key, secret] of Object.entries(secrets)) {
    const [namespace = "", name = ""] = key.split("/");
    api.secrets.set(key, { ...secret, metadata: { ...secret.metadata, namespace, name, resourceVersion: "7" } });
  }
  const { core } = await connectWith(kubeconfigOf(api.url));
  const { tokenCopies: copies } = createMetrics({ poolUnits: () => undefined });
  const counted = async () =>
    Object.fromEntries((await copies.get()).values.map(({ labels, value }) => [labels.operation, value]));
  return { api, ensureTokens: createTokenCopier({ core, log: silentLog, copies }), counted };
}

function written({ requests }: SimulatedApiServer): string[] {
  return requests.filter((request) => !request.startsWith("GET"));
}

test("createTokenCopier() copies the tokens into a namespace that has none, and labels the copy", async () => {
  const { api, ensureTokens } = await start({ [SOURCE]: { data: TOKENS, metadata: { labels: { secret: "yes" } } } });
  await ensureTokens("team");
  expect(api.secrets.get(COPY)).toMatchObject({ type: "Opaque", data: TOKENS, metadata: { labels: OURS } });
  expect(written(api)).toEqual(["POST /api/v1/namespaces/team/secrets"]);
});

test("createTokenCopier() writes nothing when the copy is the same", async () => {
  const { api, ensureTokens, counted } = await start({ [SOURCE]: { data: TOKENS } });
  await ensureTokens("team");
  await ensureTokens("team");
  expect(written(api)).toHaveLength(1);
  expect(await counted()).toEqual({ create: 1 });
});

test("fault of the original: the copy is never refreshed when the token changes", async () => {
  const metadata = { labels: OURS, annotations: { note: "keep" } };
  const { api, ensureTokens, counted } = await start({
    [SOURCE]: { data: TOKENS },
    [COPY]: { data: { ...TOKENS, "ca.crt": "b2xk", gone: "eA==" }, type: "Opaque", metadata },
  });
  await ensureTokens("team");
  expect(api.secrets.get(COPY)).toMatchObject({ type: "Opaque", metadata });
  expect(api.secrets.get(COPY)?.data).toEqual(TOKENS);
  expect(written(api)).toEqual([`PUT /api/v1/namespaces/team/secrets/bitfusion-secret`]);
  expect(await counted()).toEqual({ update: 1 });
});

test.each<[description: string, labels: Record<string, string> | undefined]>([
  ["without labels", undefined],
  ["that something else manages", { "app.kubernetes.io/managed-by": "Helm" }],
])("createTokenCopier() leaves a Secret %s as it is: it is the namespace's own", async (_, labels) => {
  const own: V1Secret = { data: { "ca.crt": "b3du" }, ...(labels ? { metadata: { labels } } : {}) };
  const { api, ensureTokens } = await start({ [SOURCE]: { data: TOKENS }, [COPY]: own });
  await ensureTokens("team");
  expect(api.secrets.get(COPY)?.data).toEqual({ "ca.crt": "b3du" });
  expect(written(api)).toEqual([]);
});

test("createTokenCopier() refuses when there are no tokens, and says how to make them", async () => {
  const { api, ensureTokens } = await start({});
  expect(await ensureTokens("team").then(String, String)).toBe(
    "Refusal: The pool's tokens are missing: make them with kubectl create secret generic bitfusion-secret --from-file=DIR -n kube-system",
  );
  expect(written(api)).toEqual([]);
});

test("createTokenCopier() is content when another replica makes the copy first", async () => {
  const { api, ensureTokens } = await start({ [SOURCE]: { data: TOKENS } }, ({ method }, { secrets }) => {
    if (method === "POST") secrets.set(COPY, { data: TOKENS, metadata: { labels: OURS } });
    return undefined;
  });
  await ensureTokens("team");
  expect(written(api)).toHaveLength(1);
});

test("createTokenCopier() renews a copy once when pods are created all at once", async () => {
  const before = { data: { "ca.crt": "b2xk" }, metadata: { labels: OURS } };
  const { api, ensureTokens } = await start({ [SOURCE]: { data: TOKENS }, [COPY]: before });
  await Promise.all(Array.from({ length: 8 }, () => ensureTokens("team")));
  expect(api.secrets.get(COPY)?.data).toEqual(TOKENS);
  expect(api.secrets.get(COPY)?.metadata?.resourceVersion).toBe("1"); // the first that the server gave away
});

test("createTokenCopier() does not overwrite a copy that became someone else's since it was read", async () => {
  const before = { data: { "ca.crt": "b2xk" }, metadata: { labels: OURS } };
  const { api, ensureTokens } = await start(
    { [SOURCE]: { data: TOKENS }, [COPY]: before },
    ({ method }, { secrets }) => {
      if (method === "PUT") secrets.set(COPY, { data: { "ca.crt": "bmV3" }, metadata: { resourceVersion: "8" } });
      return undefined;
    },
  );
  await ensureTokens("team");
  expect(api.secrets.get(COPY)?.data).toEqual({ "ca.crt": "bmV3" });
});

test("fault of the original: errors of the API server are swallowed", async () => {
  const { ensureTokens } = await start({}, () => Response.json({ message: "no rights" }, { status: 403 }));
  expect(await ensureTokens("team").then(String, String)).toContain("403");
});

test("tokensAreThere() asks nobody", async () => {
  expect(await tokensAreThere("team")).toBeUndefined();
});
