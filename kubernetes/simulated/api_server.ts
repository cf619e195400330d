import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type {
  V1MutatingWebhookConfiguration,
  V1Secret,
  V1ValidatingWebhookConfiguration,
} from "@kubernetes/client-node";
import { connectKubernetes, type KubernetesApi } from "../client.ts";

export interface SimulatedApiServerOptions {
  /** TCP port; 0 selects a free port. */
  port?: number;
  /** Serves HTTPS with these options; plain HTTP if undefined. */
  tls?: NonNullable<Bun.TLSOptions>;
  /** Called with each request. A response that it returns replaces that of the server. */
  onRequest?: (request: Request) => Response | undefined | Promise<Response | undefined>;
}

/** An API server with the objects that the webhook uses: Secrets and webhook configurations. */
export interface SimulatedApiServer extends AsyncDisposable {
  readonly url: string;
  /** By namespace/name. */
  readonly secrets: Map<string, V1Secret>;
  /** By name. */
  readonly mutatingWebhooks: Map<string, V1MutatingWebhookConfiguration>;
  /** By name. */
  readonly validatingWebhooks: Map<string, V1ValidatingWebhookConfiguration>;
  /** Method and path of each request, such as "GET /api/v1/namespaces/default/secrets/x". */
  readonly requests: string[];
}

/** Starts an API server on localhost. */
export function startSimulatedApiServer({
  port = 0,
  tls,
  onRequest,
}: SimulatedApiServerOptions = {}): SimulatedApiServer {
  const secrets = new Map<string, V1Secret>();
  const webhookConfigurations = {
    mutating: new Map<string, V1MutatingWebhookConfiguration>(),
    validating: new Map<string, V1ValidatingWebhookConfiguration>(),
  };
  const requests: string[] = [];
  let version = 0;

  function store(secret: V1Secret, namespace: string, name: string): V1Secret {
    const metadata = { ...secret.metadata, namespace, name, resourceVersion: String(++version) };
    const stored = { apiVersion: "v1", kind: "Secret", ...secret, metadata };
    secrets.set(`${namespace}/${name}`, stored);
    return stored;
  }

  const server = Bun.serve({
    port,
    idleTimeout: 0, // a watch may be silent
    ...(tls ? { tls } : {}),
    async fetch(request) {
      const { pathname } = new URL(request.url);
      requests.push(`${request.method} ${pathname}`);
      return (await onRequest?.(request)) ?? (await respond(request, pathname));
    },
  });

  async function respond(request: Request, pathname: string): Promise<Response> {
    const [, namespace, secret] = /^\/api\/v1\/namespaces\/([^/]+)\/secrets(?:\/([^/]+))?$/.exec(pathname) ?? [];
    if (namespace) return respondWithSecret(request, namespace, secret);
    const [, kind, name = ""] =
      /^\/apis\/admissionregistration.k8s.io\/v1\/(mutating|validating)webhookconfigurations\/([^/]+)$/.exec(
        pathname,
      ) ?? [];
    return kind
      ? respondWithWebhook(request, webhookConfigurations[kind as keyof typeof webhookConfigurations] as never, name)
      : status(404, "NotFound");
  }

  async function respondWithWebhook(
    request: Request,
    configurations: Map<string, WebhookConfiguration>,
    name: string,
  ): Promise<Response> {
    const current = configurations.get(name);
    if (!current) return status(404, "NotFound");
    // resource versions are assigned here: tests put configurations into the map without one
    const metadata = { ...current.metadata, resourceVersion: current.metadata?.resourceVersion ?? String(++version) };
    configurations.set(name, { ...current, metadata });
    if (request.method === "GET") return Response.json({ ...current, metadata });
    if (request.headers.get("Content-Type") !== "application/strategic-merge-patch+json") {
      return status(415, "UnsupportedMedia");
    }
    const patch = (await request.json()) as WebhookConfiguration;
    if ((patch.metadata?.resourceVersion ?? metadata.resourceVersion) !== metadata.resourceVersion) {
      return status(409, "Conflict");
    }
    const webhooks = mergeWebhooks(current.webhooks, patch.webhooks);
    const patched = { ...current, webhooks, metadata: { ...metadata, resourceVersion: String(++version) } };
    configurations.set(name, patched as never);
    return Response.json(patched);
  }

  async function respondWithSecret(request: Request, namespace: string, name: string | undefined): Promise<Response> {
    if (request.method === "POST") {
      const secret = (await request.json()) as V1Secret;
      const newName = secret.metadata?.name ?? "";
      if (secrets.has(`${namespace}/${newName}`)) return status(409, "AlreadyExists");
      return Response.json(store(secret, namespace, newName), { status: 201 });
    }
    const current = name && secrets.get(`${namespace}/${name}`);
    if (!current) return status(404, "NotFound");
    if (request.method === "GET") return Response.json(current);
    if (request.method !== "PUT") return status(405, "MethodNotAllowed");
    const secret = (await request.json()) as V1Secret;
    const expected = secret.metadata?.resourceVersion;
    if (expected && expected !== current.metadata?.resourceVersion) return status(409, "Conflict");
    return Response.json(store(secret, namespace, name));
  }

  return {
    url: `${tls ? "https" : "http"}://localhost:${server.port}`,
    secrets,
    mutatingWebhooks: webhookConfigurations.mutating,
    validatingWebhooks: webhookConfigurations.validating,
    requests,
    [Symbol.asyncDispose]: () => server.stop(true),
  };
}

type WebhookConfiguration = V1MutatingWebhookConfiguration | V1ValidatingWebhookConfiguration;

/** Merges lists of webhooks by name, as a strategic merge patch does. Only clientConfig is merged. */
function mergeWebhooks(
  current: WebhookConfiguration["webhooks"] = [],
  patch: WebhookConfiguration["webhooks"] = [],
): object[] {
  const added = patch.filter(({ name }) => !current.some((webhook) => webhook.name === name));
  const merged = current.map((webhook) => {
    const { clientConfig } = patch.find(({ name }) => name === webhook.name) ?? {};
    return { ...webhook, clientConfig: { ...webhook.clientConfig, ...clientConfig } };
  });
  return [...merged, ...added];
}

function status(code: number, reason: string, message = reason): Response {
  return Response.json(
    { apiVersion: "v1", kind: "Status", status: "Failure", code, reason, message },
    { status: code },
  );
}

export interface KubeconfigOptions {
  /** PEM of the CA to trust. */
  ca?: string;
  token?: string;
  /** PEM of the client's certificate and key. */
  cert?: string;
  key?: string;
}

/** Returns a kubeconfig for this server, as JSON, which is valid YAML. */
export function kubeconfigOf(url: string, { ca, token, cert, key }: KubeconfigOptions = {}): string {
  const encode = (text: string | undefined) => text && Buffer.from(text).toString("base64");
  return JSON.stringify({
    apiVersion: "v1",
    kind: "Config",
    clusters: [
      {
        name: "simulated",
        cluster: {
          server: url,
          "certificate-authority-data": encode(ca),
          "insecure-skip-tls-verify": url.startsWith("http:") || undefined, // required for plain HTTP
        },
      },
    ],
    users: [
      {
        name: "user",
        user: { token, "client-certificate-data": encode(cert), "client-key-data": encode(key) },
      },
    ],
    contexts: [{ name: "simulated", context: { cluster: "simulated", user: "user" } }],
    "current-context": "simulated",
  });
}

/** Calls connectKubernetes() with this kubeconfig. */
export async function connectWithKubeconfig(kubeconfig: string): Promise<KubernetesApi> {
  const directory = await mkdtemp(join(tmpdir(), "kubeconfig-"));
  try {
    const path = join(directory, "config");
    await writeFile(path, kubeconfig);
    return withEnvironment({ KUBECONFIG: path }, connectKubernetes);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** Runs a synchronous function with these environment variables, then restores the previous values. */
export function withEnvironment<T>(variables: Readonly<Record<string, string>>, run: () => T): T {
  const previous = Object.keys(variables).map((name) => [name, process.env[name]] as const);
  Object.assign(process.env, variables);
  try {
    return run();
  } finally {
    for (const [name, value] of previous) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
  }
}
