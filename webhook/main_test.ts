import { afterAll, afterEach, expect, setDefaultTimeout, test } from "bun:test";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import type { IncomingMessage } from "node:http";
import { request } from "node:https";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { V1MutatingWebhookConfiguration, V1Secret } from "@kubernetes/client-node";
import { applyPatch } from "rfc6902";
import { RESOURCE_SLICES } from "../kubernetes/objects/resource_slice.ts";
import { kubeconfigOf, startSimulatedApiServer } from "../kubernetes/simulated/api_server.ts";
import { startInventoryServer } from "../pool/sources/testing.ts";
import { writeTestToken } from "../pool/token/testing.ts";
import { bundle, usedPort } from "../program/testing.ts";
import { createCertificate } from "../tls/certificate.ts";
import { decodePatch } from "./testing.ts";

setDefaultTimeout(20_000); // on a small machine, processes start slowly

const NAMESPACE = "/api/v1/namespaces/bitfusion-system";
const SERVICE = "bitfusion-webhook.bitfusion-system.svc";

const WEBHOOK = await bundle("webhook/main.ts");
const folder = await mkdtemp(join(tmpdir(), "webhook-"));
afterAll(() => rm(folder, { recursive: true, force: true }));

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

function spawn(environment: Record<string, string>): Bun.Subprocess<"ignore", "pipe", "pipe"> {
  const CLIENTS_FILE = join(import.meta.dir, "deploy/clients.yaml");
  return Bun.spawn([process.execPath, WEBHOOK], {
    env: { PATH: process.env.PATH, PORT: "0", CLIENTS_FILE, ...environment },
    stdio: ["ignore", "pipe", "pipe"],
  });
}

/** Starts the webhook and returns its ports once it serves. */
async function start(environment: Record<string, string>) {
  const child = spawn(environment);
  cleanups.push(async () => {
    child.kill("SIGKILL");
    await child.exited;
  });
  const lines = child.stdout.pipeThrough(new TextDecoderStream())[Symbol.asyncIterator]();
  let output = "";
  for (let next = await lines.next(); !next.done; next = await lines.next()) {
    output += next.value;
    const [, line] = /^(.*"message":"Serving".*)$/m.exec(output) ?? [];
    if (line) return { child, ...(JSON.parse(line) as { port: number; metricsPort: number }) };
  }
  throw new Error(`The webhook did not start: ${output}${await new Response(child.stderr).text()}`);
}

async function readiness(port: number): Promise<[status: number, body: string]> {
  const response = await fetch(`http://localhost:${port}/readyz`);
  return [response.status, await response.text()];
}

/** Polls /readyz until the webhook is ready. Returns the body. */
async function untilReady(port: number): Promise<string> {
  for (;;) {
    const [status, body] = await readiness(port);
    if (status === 200) return body;
  }
}

const certificate = await createCertificate(["localhost"], Date.now());
const other = await createCertificate(["localhost"], Date.now());
const CERTIFICATE_FILES = { TLS_CERT_FILE: join(folder, "tls.crt"), TLS_KEY_FILE: join(folder, "tls.key") };
await Promise.all([
  writeFile(CERTIFICATE_FILES.TLS_CERT_FILE, certificate.cert),
  writeFile(CERTIFICATE_FILES.TLS_KEY_FILE, certificate.key),
]);
/** A webhook that needs no API server. */
const TLS = { ...CERTIFICATE_FILES, ALLOCATION: "units", TOKENS: "off" };

const pod = {
  metadata: { name: "p", annotations: { "auto-management/bitfusion": "yes" } },
  spec: {
    containers: [
      {
        name: "a",
        command: ["x"],
        resources: { limits: { "bitfusion.io/gpu-num": 2, "bitfusion.io/gpu-memory": "4G" } },
      },
    ],
  },
};

interface Review {
  response: { uid: string; allowed: boolean; patch?: string; status?: { message: string } };
}

/** Sends a pod to /mutate as the API server does: to the name of the Service, trusting only the CA of the caBundle. */
function mutate(port: number, ca: string, servername = "localhost"): Promise<Review> {
  return review({ path: "/mutate", port, ca, servername, object: pod });
}

interface ReviewOptions {
  path: "/mutate" | "/validate";
  port: number;
  ca: string;
  servername?: string;
  object: object;
}

async function review({ path, port, ca, servername = "localhost", object }: ReviewOptions): Promise<Review> {
  const body = JSON.stringify({
    apiVersion: "admission.k8s.io/v1",
    kind: "AdmissionReview",
    request: {
      uid: "u",
      resource: { group: "", version: "v1", resource: "pods" },
      namespace: "team",
      operation: "CREATE",
      object,
    },
  });
  const headers = { "Content-Type": "application/json" };
  const sent = request({
    host: "localhost",
    port,
    path: `${path}?timeout=5s`,
    method: "POST",
    ca,
    servername,
    headers,
  });
  sent.end(body);
  const [response] = (await once(sent, "response")) as [IncomingMessage];
  return (await new Response(response as unknown as ReadableStream).json()) as Review;
}

test("the webhook serves HTTPS with TLS files, exports metrics, and exits with status 0 on SIGTERM", async () => {
  const { child, port, metricsPort } = await start({ ...TLS, TOTAL_GPU_MEMORY: "16G" });
  const { response } = await mutate(port, certificate.ca);
  expect(response).toMatchObject({ uid: "u", allowed: true });
  const injected = structuredClone(pod);
  applyPatch(injected, decodePatch(response.patch ?? ""));
  expect(injected.spec.containers[0]?.resources.limits).toEqual({ "bitfusion.io/gpu": "50" } as object as never);
  expect(await mutate(port, other.ca).then(String, String)).toContain("certificate");
  const get = (path: string) => fetch(`http://localhost:${metricsPort}${path}`).then((response) => response.text());
  expect(await get("/readyz")).toBe("ok: ALLOCATION=units\n");
  const metrics = await get("/metrics");
  expect(metrics).toContain(
    'bitfusion_webhook_review_duration_seconds_count{webhook="mutate",result="patched",reason="injected"} 1',
  );
  const [, expiry] = /^bitfusion_webhook_certificate_expiry_timestamp_seconds (.*)$/m.exec(metrics) ?? [];
  expect(Number(expiry) * 1000).toBeGreaterThan(Date.now());
  child.kill("SIGTERM");
  expect(await child.exited).toBe(0);
  expect(await new Response(child.stderr).text()).toBe("");
});

test("with units, the webhook creates its certificate, writes the caBundles and copies the token", async () => {
  const api = startSimulatedApiServer({ tls: other });
  cleanups.push(() => api[Symbol.asyncDispose]());
  const clientConfig = { service: { namespace: "bitfusion-system", name: "bitfusion-webhook" } };
  const webhook = { name: "pods.bitfusion.io", clientConfig, admissionReviewVersions: ["v1"], sideEffects: "None" };
  const configurations = ["mutating", "validating"].map(
    (kind) => `/apis/admissionregistration.k8s.io/v1/${kind}webhookconfigurations/bitfusion-webhook`,
  );
  for (const path of configurations) api.store.put(path, { webhooks: [webhook] });
  api.store.put(NAMESPACE, { metadata: { uid: "uid-of-namespace" } });
  const KUBECONFIG = join(folder, "config");
  await writeFile(KUBECONFIG, kubeconfigOf(api.url, { ca: other.ca, token: "t" }));
  const { port, metricsPort } = await start({ KUBECONFIG, ALLOCATION: "units", TOTAL_GPU_MEMORY: "16000" });
  await untilReady(metricsPort);
  const [mutating = "", validating] = configurations.map(
    (path) => api.store.get<V1MutatingWebhookConfiguration>(path)?.webhooks?.[0]?.clientConfig.caBundle,
  );
  expect(mutating).not.toBe("");
  expect(validating).toBe(mutating);
  const ca = Buffer.from(mutating, "base64").toString();
  const secret = (namespace: string, name: string) => `/api/v1/namespaces/${namespace}/secrets/${name}`;
  const stored = (namespace: string, name: string) => api.store.get<V1Secret>(secret(namespace, name));
  expect(stored("bitfusion-system", "bitfusion-webhook-tls")?.type).toBe("kubernetes.io/tls");

  const refused = await mutate(port, ca, SERVICE);
  expect(refused.response.allowed).toBe(false);
  expect(refused.response.status?.message).toContain("kubectl create secret generic bitfusion-secret");
  api.store.put(secret("kube-system", "bitfusion-secret"), { data: { "ca.crt": "eA==" } });
  expect((await mutate(port, ca, SERVICE)).response.allowed).toBe(true);
  expect(stored("team", "bitfusion-secret")).toMatchObject({
    data: { "ca.crt": "eA==" },
    metadata: { ownerReferences: [{ kind: "Namespace", name: "bitfusion-system", uid: "uid-of-namespace" }] },
  });
  const metrics = await fetch(`http://localhost:${metricsPort}/metrics`).then((response) => response.text());
  expect(metrics).toContain('bitfusion_webhook_token_copies_total{operation="create"} 1');
  expect(metrics).toContain(
    'bitfusion_webhook_review_duration_seconds_count{webhook="mutate",result="denied",reason="tokens"} 1',
  );
});

test("the webhook answers a review that waits for the API server when SIGTERM arrives", async () => {
  const [asked, answer] = [Promise.withResolvers<void>(), Promise.withResolvers<undefined>()];
  const api = startSimulatedApiServer({
    onRequest({ url }) {
      if (!url.includes("/secrets/")) return undefined;
      asked.resolve();
      return answer.promise;
    },
  });
  cleanups.push(() => api[Symbol.asyncDispose]());
  api.store.put("/api/v1/namespaces/kube-system/secrets/bitfusion-secret", { data: { "ca.crt": "eA==" } });
  api.store.put(NAMESPACE, {});
  const KUBECONFIG = join(folder, "sigterm-config");
  await writeFile(KUBECONFIG, kubeconfigOf(api.url));
  const { child, port, metricsPort } = await start({ ...TLS, TOKENS: "copy", KUBECONFIG, TOTAL_GPU_MEMORY: "16G" });
  await untilReady(metricsPort);
  const review = mutate(port, certificate.ca);
  await asked.promise;
  child.kill("SIGTERM");
  answer.resolve(undefined);
  expect((await review).response.allowed).toBe(true);
  expect(await child.exited).toBe(0);
});

/** Writes a kubeconfig for an API server that answers the webhook's dry run this way. Returns its path. */
async function writeKubeconfig(name: string, respond: (template: Template) => Response): Promise<string> {
  const api = startSimulatedApiServer({
    onRequest: async (request) =>
      request.url.includes("/resourceclaimtemplates") ? respond((await request.json()) as Template) : undefined,
  });
  cleanups.push(() => api[Symbol.asyncDispose]());
  const path = join(folder, name);
  await writeFile(path, kubeconfigOf(api.url));
  return path;
}

/** What the webhook sends in its dry run. */
interface Template {
  spec: { spec: { devices: { requests: { exactly: { capacity?: object } }[] } } };
}

test.each<[what: string, respond: (template: Template) => Response, missing: string]>([
  [
    "has no resource.k8s.io/v1",
    () => new Response("404 page not found", { status: 404 }),
    "resource.k8s.io/v1 (Kubernetes 1.34 and later)",
  ],
  [
    "drops the capacity of claims",
    (template) => {
      for (const { exactly } of template.spec.spec.devices.requests) delete exactly.capacity;
      return Response.json(template, { status: 201 });
    },
    "claims by capacity (Kubernetes 1.36 and later)",
  ],
])(
  "the webhook is not ready if the API server %s, and names the component for units",
  async (what, respond, missing) => {
    const KUBECONFIG = await writeKubeconfig(`${what.replaceAll(/\W/g, "-")}-config`, respond);
    const { metricsPort } = await start({ ...CERTIFICATE_FILES, KUBECONFIG });
    let current = await readiness(metricsPort);
    while (current[1].startsWith("Not known yet")) current = await readiness(metricsPort);
    const remedy = "upgrade it, or install the kustomize component components/units";
    expect(current).toEqual([503, `The API server does not support ${missing}: ${remedy}\n`]);
  },
);

test("the webhook is ready with an API server that supports claims, and copies no token", async () => {
  const paths: string[] = [];
  const KUBECONFIG = await writeKubeconfig("claims-config", (template) => {
    paths.push("dry run");
    return Response.json(template, { status: 201 });
  });
  const { port, metricsPort } = await start({ ...CERTIFICATE_FILES, KUBECONFIG, TOTAL_GPU_MEMORY: "16G" });
  expect(await untilReady(metricsPort)).toBe("ok: ALLOCATION=claims\n");
  const { response } = await mutate(port, certificate.ca);
  expect(response).toMatchObject({ allowed: true });
  expect(paths).toEqual(["dry run"]);
});

/** Waits until the webhook knows this many units of the pool. */
async function untilUnits(port: number, units: string): Promise<void> {
  for (const deadline = AbortSignal.timeout(10_000); ; deadline.throwIfAborted()) {
    const metrics = await (await fetch(`http://localhost:${port}/metrics`)).text();
    if (metrics.includes(`\nbitfusion_webhook_pool_units ${units}\n`)) return;
  }
}

test("with units, the webhook learns the pool from the pool servers", async () => {
  await using server = await startInventoryServer({ gpus: 2 });
  const POOL_TOKEN = await writeTestToken(join(folder, "token"));
  const { metricsPort } = await start({ ...TLS, POOL_SERVERS: server.address, POOL_TOKEN });
  await untilUnits(metricsPort, "200");
});

/** The ResourceSlice of a pool, which has this many GPUs. The slice has one less for each that is missing. */
function sliceOf({ gpus, missing = 0 }: { gpus: number; missing?: number }) {
  const devices = Array.from({ length: gpus - missing }, (_, index) => ({
    name: `gpu-${index}`,
    attributes: { id: { string: String(index) }, model: { string: "Tesla T4" }, memoryMb: { int: 16_000 } },
  }));
  return {
    metadata: { annotations: { "bitfusion.io/pool-gpus": String(gpus) } },
    spec: { driver: "bitfusion.io", devices },
  };
}

test("with claims, the webhook learns the pool from the ResourceSlices, and asks neither for the token nor a pool server", async () => {
  const api = startSimulatedApiServer();
  cleanups.push(() => api[Symbol.asyncDispose]());
  let connections = 0;
  const poolServer = createServer((socket) => {
    connections += 1;
    socket.destroy();
  });
  cleanups.push(() => poolServer.close());
  await once(poolServer.listen(0, "127.0.0.1"), "listening");
  const { port: poolPort } = poolServer.address() as AddressInfo;
  const KUBECONFIG = join(folder, "slices-config");
  await writeFile(KUBECONFIG, kubeconfigOf(api.url));
  const { child, port, metricsPort } = await start({
    ...CERTIFICATE_FILES,
    KUBECONFIG,
    TOTAL_GPU_MEMORY: "16G",
    POOL_SERVERS: `127.0.0.1:${poolPort}`,
  });
  await untilReady(metricsPort);
  const target = { port, ca: certificate.ca };
  const injected = structuredClone(pod); // two GPUs
  applyPatch(injected, decodePatch((await mutate(port, certificate.ca)).response.patch ?? ""));
  const validate = async () => (await review({ ...target, path: "/validate", object: injected })).response;
  function publish(slice: object, units: string): Promise<void> {
    api.store.put(`${RESOURCE_SLICES}/bitfusion-0`, slice);
    return untilUnits(metricsPort, units);
  }
  expect((await validate()).allowed).toBe(true); // no slice yet
  await publish(sliceOf({ gpus: 1 }), "100");
  const refused = await validate();
  expect(refused.allowed).toBe(false);
  expect(refused.status?.message).toContain("but the whole pool has 1 that can give it (1 × Tesla T4 of 16000 MB)");
  await publish(sliceOf({ gpus: 3, missing: 2 }), "Nan");
  expect((await validate()).allowed).toBe(true); // one slice of several
  await publish(sliceOf({ gpus: 2 }), "200");
  expect((await validate()).allowed).toBe(true);
  expect(connections).toBe(0);
  expect(api.requests.filter((request) => request.includes("/secrets"))).toEqual([]);
  child.kill("SIGTERM");
  expect(await child.exited).toBe(0); // while it watches
});

test("the webhook is not ready while its TLS files do not belong together, and serves once they do", async () => {
  const files = { TLS_CERT_FILE: join(folder, "half.crt"), TLS_KEY_FILE: join(folder, "half.key") };
  await Promise.all([writeFile(files.TLS_CERT_FILE, certificate.cert), writeFile(files.TLS_KEY_FILE, other.key)]);
  const child = spawn({ ...TLS, ...files, TOTAL_GPU_MEMORY: "16G" });
  cleanups.push(async () => {
    child.kill("SIGKILL");
    await child.exited;
  });
  let output = "";
  const line = (message: string) => output.split("\n").find((each) => each.includes(message) && each.endsWith("}"));
  for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
    output += text;
    const started = line('"Started"');
    if (started && line("Cannot get the certificate") && !line('"Serving"')) {
      const { metricsPort } = JSON.parse(started);
      const readiness = await fetch(`http://localhost:${metricsPort}/readyz`);
      expect([readiness.status, await readiness.text()]).toEqual([503, "No certificate yet\n"]);
      await writeFile(files.TLS_KEY_FILE, certificate.key);
    }
    if (line('"Serving"')) break;
  }
  const { reason } = JSON.parse(line("Cannot get the certificate") ?? "{}");
  expect(reason).toBe(`Cannot use TLS_KEY_FILE="${files.TLS_KEY_FILE}": expected the key of the certificate`);
  const { port } = JSON.parse(line('"Serving"') ?? "{}");
  expect((await mutate(port, certificate.ca)).response.allowed).toBe(true);
});

const CLIENTS = join(folder, "clients.yaml");
await writeFile(CLIENTS, "default: none\nclients: []\n");

const EMPTY = join(folder, "empty-config");
await writeFile(EMPTY, JSON.stringify({ apiVersion: "v1", kind: "Config" }));

const used = await usedPort();

test.concurrent.each<[sentence: string, environment: Record<string, string>]>([
  [`Cannot listen on PORT="${used}": it is in use`, { ...TLS, PORT: String(used) }],
  [`Cannot listen on METRICS_PORT="${used}": it is in use`, { ...TLS, METRICS_PORT: String(used) }],
  ['Cannot use PORT="x": expected a whole number from 0 to 65535', { ...TLS, PORT: "x" }],
  [
    `Cannot use TLS_CERT_FILE="${TLS.TLS_CERT_FILE}" without TLS_KEY_FILE: set both or none`,
    { ...TLS, TLS_KEY_FILE: "" },
  ],
  ['Cannot read CLIENTS_FILE="/nowhere/clients.yaml": ENOENT', { ...TLS, CLIENTS_FILE: "/nowhere/clients.yaml" }],
  [`Cannot use ${CLIENTS}: clients: expected at least one client`, { ...TLS, CLIENTS_FILE: CLIENTS }],
  ['Cannot use TOKENS="maybe": expected copy or off', { ...TLS, TOKENS: "maybe" }],
  ['Cannot use TOTAL_GPU_MEMORY="lots": expected the memory of one GPU: MB', { ...TLS, TOTAL_GPU_MEMORY: "lots" }],
  ['Cannot read KUBECONFIG="/nowhere/config": ENOENT', { KUBECONFIG: "/nowhere/config" }],
  [
    "Cannot find the API server: expected a service account, or KUBECONFIG",
    { KUBECONFIG: EMPTY, ...CERTIFICATE_FILES },
  ],
])("the webhook prints %s on one line and exits with status 2", async (sentence, environment) => {
  const child = spawn(environment);
  const [printed, logged] = await Promise.all([new Response(child.stderr).text(), new Response(child.stdout).text()]);
  expect(printed).toStartWith(`webhook: ${sentence}`);
  expect(printed.trim().split("\n")).toHaveLength(1);
  expect(logged).not.toContain("Serving");
  expect(await child.exited).toBe(2);
});
