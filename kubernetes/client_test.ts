import { connectWithKubeconfig } from "./simulated/api_server.ts";
import "reflect-metadata"; // must precede x509, whose dependency injection needs it
import { afterEach, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as x509 from "@peculiar/x509";
import { createCertificate } from "../tls/certificate.ts";
import { connectKubernetes, withSignal } from "./client.ts";
import { isObjectNotFound, isStatus, KubernetesError } from "./error.ts";
import {
  kubeconfigOf,
  type SimulatedApiServer,
  startSimulatedApiServer,
  withEnvironment,
} from "./simulated/api_server.ts";

const SECRET = { namespace: "kube-system", name: "bitfusion-secret" };
const server = await createCertificate(["localhost"], Date.now());

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

function start(options: Parameters<typeof startSimulatedApiServer>[0]): SimulatedApiServer {
  const api = startSimulatedApiServer(options);
  cleanups.push(() => api[Symbol.asyncDispose]());
  api.store.put("/api/v1/namespaces/kube-system/secrets/bitfusion-secret", { data: { "ca.crt": "eA==" } });
  return api;
}

/** Creates a client certificate; those of createCertificate() are for servers only. */
async function createClientCertificate(): Promise<{ cert: string; key: string }> {
  const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
  const keys = await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    name: "CN=client",
    keys,
    notBefore: new Date(Date.now() - 3_600_000),
    notAfter: new Date(Date.now() + 3_600_000),
    signingAlgorithm: algorithm,
    extensions: [new x509.BasicConstraintsExtension(true, undefined, true)],
  });
  const key = x509.PemConverter.encode(await crypto.subtle.exportKey("pkcs8", keys.privateKey), "PRIVATE KEY");
  return { cert: certificate.toString("pem"), key };
}

test("connectKubernetes() sends the token of KUBECONFIG to a server with a certificate of its CA", async () => {
  const seen: (string | null)[] = [];
  const api = start({
    tls: server,
    onRequest: ({ headers }) => {
      seen.push(headers.get("Authorization"));
      return undefined;
    },
  });
  const { core } = await connectWithKubeconfig(kubeconfigOf(api.url, { ca: server.ca, token: "letmein" }));
  const { data } = await core.readNamespacedSecret(SECRET);
  expect(data).toEqual({ "ca.crt": "eA==" });
  expect(seen).toEqual(["Bearer letmein"]);
});

test("connectKubernetes() sends nothing to a server with a certificate of another CA", async () => {
  const api = start({ tls: server });
  const other = await createCertificate(["localhost"], Date.now());
  const trusting = await connectWithKubeconfig(kubeconfigOf(api.url, { ca: server.ca }));
  await trusting.core.readNamespacedSecret(SECRET); // leaves an open connection, which must not be reused
  const { core } = await connectWithKubeconfig(kubeconfigOf(api.url, { ca: other.ca, token: "letmein" }));
  const outcome = await core.readNamespacedSecret(SECRET).then(String, String);
  expect(outcome).toContain("certificate");
  expect(api.requests).toHaveLength(1);
});

test("connectKubernetes() sends nothing to a server whose certificate is for another name", async () => {
  const elsewhere = await createCertificate(["elsewhere"], Date.now());
  const api = start({ tls: elsewhere });
  const { core } = await connectWithKubeconfig(kubeconfigOf(api.url, { ca: elsewhere.ca }));
  const outcome = await core.readNamespacedSecret(SECRET).then(String, String);
  expect(outcome).toMatch(/altname|IDENTITY|certificate/i);
  expect(api.requests).toEqual([]);
});

test("connectKubernetes() presents the client certificate of KUBECONFIG", async () => {
  const client = await createClientCertificate();
  const api = start({ tls: { ...server, ca: client.cert, requestCert: true, rejectUnauthorized: true } });
  const { core } = await connectWithKubeconfig(kubeconfigOf(api.url, { ca: server.ca, ...client }));
  expect((await core.readNamespacedSecret(SECRET)).data).toEqual({ "ca.crt": "eA==" });
  const { core: anonymous } = await connectWithKubeconfig(kubeconfigOf(api.url, { ca: server.ca }));
  expect(
    await anonymous.readNamespacedSecret(SECRET).then(
      () => "accepted",
      () => "refused",
    ),
  ).toBe("refused");
  expect(api.requests).toHaveLength(1);
});

test.each<[body: string, message: string]>([
  ['{"kind":"Status","message":"secrets is forbidden"}', "secrets is forbidden"],
  ["<html>Bad gateway</html>", "<html>Bad gateway</html>"],
])("a KubernetesError has the status code, and the message of the response %s", async (body, message) => {
  const api = start({ onRequest: () => new Response(body, { status: 403 }) });
  const { core } = await connectWithKubeconfig(kubeconfigOf(api.url));
  const error = await core.readNamespacedSecret(SECRET).catch((thrown: unknown) => thrown);
  const path = "/api/v1/namespaces/kube-system/secrets/bitfusion-secret";
  expect(error).toEqual(new KubernetesError(403, `GET ${path} answered 403: ${message}`));
});

test("isStatus() distinguishes 404 for a missing Secret from other errors", async () => {
  const api = start({});
  const { core } = await connectWithKubeconfig(kubeconfigOf(api.url));
  const missing = await core.readNamespacedSecret({ ...SECRET, name: "missing" }).catch((error: unknown) => error);
  expect(isStatus(missing, 404)).toBe(true);
  expect(isStatus(missing, 409)).toBe(false);
  await api[Symbol.asyncDispose]();
  const down = await core.readNamespacedSecret(SECRET).catch((error: unknown) => error);
  expect(down).toBeInstanceOf(Error);
  expect(isStatus(down, 404)).toBe(false);
});

test("isStatus() recognizes 409 for a Secret that exists", async () => {
  const api = start({});
  const { core } = await connectWithKubeconfig(kubeconfigOf(api.url));
  const body = { metadata: { name: SECRET.name } };
  const conflict = await core
    .createNamespacedSecret({ namespace: SECRET.namespace, body })
    .catch((error: unknown) => error);
  expect(isStatus(conflict, 409)).toBe(true);
});

const notFound = { kind: "Status", reason: "NotFound", message: "not found" };

test.each<[description: string, body: string, expected: boolean]>([
  ["a missing object", JSON.stringify({ ...notFound, details: { name: "x", kind: "secrets" } }), true],
  ["an unknown resource type", JSON.stringify({ ...notFound, details: {} }), false],
  ["a text that is not a Status", "404 page not found", false],
  ["a JSON object that is not a Status", "{}", false],
  ["JSON null", "null", false],
])("isObjectNotFound() of a 404 with %s", async (_, body, expected) => {
  const api = start({ onRequest: () => new Response(body, { status: 404 }) });
  const { core } = await connectWithKubeconfig(kubeconfigOf(api.url));
  const error = await core.readNamespacedSecret(SECRET).catch((thrown: unknown) => thrown);
  expect(isStatus(error, 404)).toBe(true);
  expect(isObjectNotFound(error)).toBe(expected);
});

test("connectKubernetes() names the path in KUBECONFIG if the file does not exist", () => {
  const path = join(tmpdir(), "no-such-kubeconfig");
  expect(() => withEnvironment({ KUBECONFIG: path }, connectKubernetes)).toThrow(`Cannot read KUBECONFIG="${path}"`);
});

test.each([
  ["names no server", "{}"],
  ["has no current context", "apiVersion: v1\nkind: Config\nclusters: []\nusers: []\ncontexts: []\n"],
])("connectKubernetes() reports what it expects if KUBECONFIG %s", async (_, kubeconfig) => {
  const outcome = await connectWithKubeconfig(kubeconfig).then(String, String);
  expect(outcome).toBe("ConfigError: Cannot find the API server: expected a service account, or KUBECONFIG");
});

test.each([
  ["the client", 50, 5000],
  ["the call", 5000, 50],
])("a call of a typed client ends with the signal of %s", async (_, client, call) => {
  const api = start({ onRequest: () => new Promise(() => {}) });
  const home = await mkdtemp(join(tmpdir(), "client-"));
  cleanups.push(() => rm(home, { recursive: true, force: true }));
  const KUBECONFIG = join(home, "config");
  await writeFile(KUBECONFIG, kubeconfigOf(api.url));
  const { core } = withEnvironment({ KUBECONFIG }, () => connectKubernetes(AbortSignal.timeout(client)));
  const outcome = core.readNamespacedSecret(SECRET, withSignal(AbortSignal.timeout(call))).then(String, String);
  expect(await outcome).toContain("was not answered in time");
});

const isInCluster = existsSync("/var/run/secrets/kubernetes.io/serviceaccount/token");

test.skipIf(isInCluster)("connectKubernetes() reports what it expects if nothing configures a server", async () => {
  const home = await mkdtemp(join(tmpdir(), "client-"));
  cleanups.push(() => rm(home, { recursive: true, force: true }));
  const connectAtHome = () => withEnvironment({ KUBECONFIG: "", HOME: home }, connectKubernetes);
  expect(connectAtHome).toThrow("Cannot find the API server: expected a service account, or KUBECONFIG");
});
