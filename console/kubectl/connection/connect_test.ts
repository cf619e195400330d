import { afterEach, expect, test } from "bun:test";
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { kubeconfigOf, startSimulatedApiServer, withEnvironment } from "../../../kubernetes/simulated/api_server.ts";
import { createCertificate } from "../../../tls/certificate.ts";
import { connect } from "./connect.ts";

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "connect-"));
  cleanups.push(() => rm(folder, { recursive: true }));
  return folder;
}

interface Context {
  url: string;
  namespace?: string;
  cluster?: object;
  user?: object;
}

/** Writes a kubeconfig with these contexts. Returns its path. */
async function writeKubeconfig(contexts: Record<string, Context>): Promise<string> {
  const path = join(await temporaryFolder(), "config");
  const config = {
    ...JSON.parse(kubeconfigOf("http://localhost:1")),
    clusters: Object.entries(contexts).map(([name, { url, cluster }]) => ({
      name,
      cluster: { server: url, "insecure-skip-tls-verify": url.startsWith("http:") || undefined, ...cluster },
    })),
    users: Object.entries(contexts).map(([name, { user = {} }]) => ({ name, user })),
    contexts: Object.entries(contexts).map(([name, { namespace }]) => ({
      name,
      context: { cluster: name, user: name, namespace },
    })),
    "current-context": Object.keys(contexts)[0],
  };
  await writeFile(path, JSON.stringify(config));
  return path;
}

function startServer(tls?: Bun.TLSOptions) {
  const seen: { path: string; authorization: string | null }[] = [];
  const api = startSimulatedApiServer({
    ...(tls ? { tls } : {}),
    onRequest({ url, headers }) {
      seen.push({ path: new URL(url).pathname, authorization: headers.get("Authorization") });
      return Response.json({ items: [] });
    },
  });
  cleanups.push(() => api[Symbol.asyncDispose]());
  return { url: api.url, seen };
}

test("connect() uses the context, its namespace and the path of its server", async () => {
  const { url, seen } = startServer();
  const kubeconfig = await writeKubeconfig({
    first: { url: "http://localhost:1" },
    second: { url: `${url}/k8s/clusters/c-1/`, namespace: "team", user: { token: "letmein" } },
  });
  expect(connect({ kubeconfig }).namespace).toBe("default");
  const { request, namespace } = connect({ kubeconfig, context: "second" });
  await request("/api/v1/pods");
  expect(namespace).toBe("team");
  expect(seen).toEqual([{ path: "/k8s/clusters/c-1/api/v1/pods", authorization: "Bearer letmein" }]);
});

test("connect() finds the kubeconfig as kubectl does: files in KUBECONFIG are merged", async () => {
  const { url, seen } = startServer();
  const files = [
    await writeKubeconfig({ one: { url: "http://localhost:1" } }),
    await writeKubeconfig({ two: { url } }),
  ];
  const { request } = withEnvironment({ KUBECONFIG: files.join(":") }, () => connect({ context: "two" }));
  await request("/api/v1/pods");
  expect(seen).toHaveLength(1);
});

test("connect() gets a token from a plugin, which is told the version of its API", async () => {
  const { url, seen } = startServer();
  const command = join(await temporaryFolder(), "plugin");
  const answer = `{"kind":"ExecCredential","status":{"token":"'"$PREFIX$(echo "$KUBERNETES_EXEC_INFO" | grep -c client.authentication.k8s.io/v1beta1)"'"}}`;
  await writeFile(command, `#!/bin/sh\necho '${answer}'\n`);
  await chmod(command, 0o700);
  const exec = {
    apiVersion: "client.authentication.k8s.io/v1beta1",
    command,
    env: [{ name: "PREFIX", value: "token-" }],
    interactiveMode: "Never",
  };
  const { request } = connect({ kubeconfig: await writeKubeconfig({ plugin: { url, user: { exec } } }) });
  await request("/api/v1/pods");
  expect(seen.map(({ authorization }) => authorization)).toEqual(["Bearer token-1"]);
});

test("connect() sends the token of an OIDC provider", async () => {
  const { url, seen } = startServer();
  const encode = (object: object) => Buffer.from(JSON.stringify(object)).toString("base64url");
  const token = `${encode({ alg: "none" })}.${encode({ exp: Math.floor(Date.now() / 1000) + 600 })}.x`;
  const config = {
    "client-id": "kubectl",
    "client-secret": "x",
    "id-token": token,
    "idp-issuer-url": "https://idp.example",
    "refresh-token": "x",
  };
  const user = { "auth-provider": { name: "oidc", config } };
  const { request } = connect({ kubeconfig: await writeKubeconfig({ oidc: { url, user } }) });
  await request("/api/v1/pods");
  expect(seen.map(({ authorization }) => authorization)).toEqual([`Bearer ${token}`]);
});

test("connect() checks the certificate of the server against tls-server-name", async () => {
  const { ca, cert, key } = await createCertificate(["kubernetes.default"], Date.now());
  const { url } = startServer({ cert, key });
  const cluster = { "certificate-authority-data": Buffer.from(ca).toString("base64") };
  const named = { ...cluster, "tls-server-name": "kubernetes.default" };
  const { request } = connect({ kubeconfig: await writeKubeconfig({ named: { url, cluster: named } }) });
  expect((await request("/api/v1/pods")).status).toBe(200);
  const { request: unnamed } = connect({ kubeconfig: await writeKubeconfig({ unnamed: { url, cluster } }) });
  expect(await unnamed("/api/v1/pods").then(String, String)).toContain("ALTNAME");
});

test("connect() goes through proxy-url, and refuses a proxy that it cannot use", async () => {
  const proxied: string[] = [];
  const proxy = Bun.serve({
    port: 0,
    fetch({ url }) {
      proxied.push(url);
      return Response.json({ items: [] });
    },
  });
  cleanups.push(() => proxy.stop(true));
  const through = (url: string) =>
    writeKubeconfig({ x: { url: "http://api.example:8080", cluster: { "proxy-url": url } } });
  await connect({ kubeconfig: await through(`http://localhost:${proxy.port}`) }).request("/api/v1/pods");
  expect(proxied).toEqual(["http://api.example:8080/api/v1/pods"]);
  const { request } = connect({ kubeconfig: await through("socks5://localhost:1080") });
  expect(await request("/api/v1/pods").then(String, String)).toBe(
    'Error: Cannot use proxy-url "socks5://localhost:1080" of the kubeconfig: expected an http or https URL',
  );
});

test("connect() names the context or the file that is wrong", async () => {
  const kubeconfig = await writeKubeconfig({ one: { url: "http://localhost:1" }, two: { url: "http://localhost:1" } });
  expect(() => connect({ kubeconfig, context: "three" })).toThrow(
    'Cannot use --context "three": expected one of one, two',
  );
  expect(() => connect({ kubeconfig: "/nowhere/config" })).toThrow(
    'Cannot read --kubeconfig "/nowhere/config": ENOENT',
  );
  const empty = join(await temporaryFolder(), "empty");
  expect(() => withEnvironment({ KUBECONFIG: empty }, () => connect({}))).toThrow("Cannot read the kubeconfig: ENOENT");
});
