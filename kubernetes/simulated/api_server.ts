import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connectKubernetes, type KubernetesApi } from "../client.ts";
import { createObjectStore, failure, type ObjectStore } from "./objects.ts";

export interface SimulatedApiServerOptions {
  /** TCP port; 0 selects a free port. */
  port?: number;
  /** Serves HTTPS with these options; plain HTTP if undefined. */
  tls?: NonNullable<Bun.TLSOptions>;
  /** Called with each request. A response that it returns replaces that of the server. */
  onRequest?: ((request: Request) => Response | undefined | Promise<Response | undefined>) | undefined;
}

/** An API server that serves the objects of a store. */
export interface SimulatedApiServer extends AsyncDisposable {
  readonly url: string;
  readonly store: ObjectStore;
  /** Method and path of each request, such as "GET /api/v1/namespaces/default/secrets/x". */
  readonly requests: string[];
}

/** Starts an API server on localhost. */
export function startSimulatedApiServer(options: SimulatedApiServerOptions = {}): SimulatedApiServer {
  const { port = 0, tls, onRequest } = options;
  const store = createObjectStore();
  const requests: string[] = [];
  const server = Bun.serve({
    port,
    idleTimeout: 0, // a watch may be silent
    ...(tls ? { tls } : {}),
    async fetch(request) {
      requests.push(`${request.method} ${new URL(request.url).pathname}`);
      return (await onRequest?.(request)) ?? (await store.answer(request)) ?? failure(404, "NotFound");
    },
  });
  return {
    url: `${tls ? "https" : "http"}://localhost:${server.port}`,
    store,
    requests,
    [Symbol.asyncDispose]: () => server.stop(true),
  };
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
