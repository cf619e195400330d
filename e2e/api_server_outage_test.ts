import { afterEach, expect, setDefaultTimeout, test } from "bun:test";
import { mkdir, mkdtempDisposable, writeFile } from "node:fs/promises";
import { createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { V1MutatingWebhookConfiguration } from "@kubernetes/client-node";
import { kubeconfigOf, startSimulatedApiServer } from "../kubernetes/simulated/api_server.ts";
import { startSimulatedDraKubelet } from "../kubernetes/simulated/dra_kubelet.ts";
import { startSimulatedKubelet } from "../kubernetes/simulated/kubelet.ts";
import { type LogLine, type Program, startProgram } from "../program/child_program.ts";
import { freePort } from "../program/testing.ts";

setDefaultTimeout(30_000); // on a small machine, processes start slowly

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** Accepts connections on a port of 127.0.0.1 and never answers. Returns the port, and a function that ends it. */
async function listenSilently() {
  const sockets = new Set<Socket>();
  const accepted = Promise.withResolvers<void>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.once("data", () => accepted.resolve());
  });
  const port = await freePort();
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  async function end() {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  }
  return { port, accepted: accepted.promise, end };
}

const CLIENTS_FILE = join(import.meta.dir, "../webhook/deploy/clients.yaml");
const POOL = { POOL_SERVERS: "127.0.0.1:1" };

/** Environment of each program, for a temporary directory. */
const PROGRAMS: Record<string, (directory: string) => Promise<Record<string, string>>> = {
  "webhook/main.ts": async () => ({ ...POOL, PORT: "0", CLIENTS_FILE }),
  "controller/main.ts": async () => POOL,
  "plugin/main.ts": async (directory) => {
    const environment = {
      RESOURCE_NUMS: "100",
      KUBELET_DIR: directory,
      PLUGINS_REGISTRY_DIR: join(directory, "registry"),
      DRIVER_DIR: join(directory, "driver"),
      CDI_DIR: join(directory, "cdi"),
    };
    await mkdir(environment.PLUGINS_REGISTRY_DIR);
    const kubelet = await startSimulatedKubelet({ directory, resourceName: "bitfusion.io/gpu" });
    const draKubelet = await startSimulatedDraKubelet({ directory: environment.PLUGINS_REGISTRY_DIR });
    cleanups.push(
      () => kubelet[Symbol.asyncDispose](),
      () => draKubelet[Symbol.asyncDispose](),
    );
    return environment;
  },
};

/** Starts a program whose API server should be on this port. */
async function start(file: string, port: number): Promise<Program> {
  const directory = await mkdtempDisposable(join(tmpdir(), "outage-"));
  cleanups.push(() => directory.remove());
  const KUBECONFIG = join(directory.path, "kubeconfig");
  await writeFile(KUBECONFIG, kubeconfigOf(`http://127.0.0.1:${port}`));
  const environment = { KUBECONFIG, ...(await PROGRAMS[file]?.(directory.path)) };
  const program = startProgram(file, { environment, ready: "Started" });
  cleanups.push(() => program[Symbol.asyncDispose]());
  return program;
}

/** Starts the API server, with the configurations of the webhook. */
function startApiServer(port: number): void {
  const api = startSimulatedApiServer({ port });
  cleanups.push(() => api[Symbol.asyncDispose]());
  const metadata = { name: "bitfusion-webhook" };
  const configuration: V1MutatingWebhookConfiguration = { metadata, webhooks: [] };
  api.mutatingWebhooks.set(metadata.name, configuration);
  api.validatingWebhooks.set(metadata.name, configuration);
}

/** Polls /readyz until it has this status. Returns the body. */
async function untilReadyz(port: unknown, status: number): Promise<string> {
  for (const deadline = AbortSignal.timeout(25_000); ; await Bun.sleep(20)) {
    deadline.throwIfAborted();
    const response = await fetch(`http://127.0.0.1:${port}/readyz`);
    const body = await response.text();
    if (response.status === status) return body;
  }
}

const isFailedCall = ({ reason }: LogLine) => typeof reason === "string" && /^[A-Z]+ \/\S+ /.test(reason);

test.each(Object.keys(PROGRAMS))(
  "%s waits for an API server that refuses connections, and says so, and becomes ready once it answers",
  async (file) => {
    const port = await freePort();
    const program = await start(file, port);
    const { metricsPort } = await program.started;
    const { reason } = await program.logged(isFailedCall);
    expect(reason).toMatch(new RegExp(`^(GET|POST) /\\S+ failed: 127.0.0.1:${port} refused the connection$`));
    expect(await untilReadyz(metricsPort, 503)).toMatch(/No answer|No certificate|not registered/i);
    startApiServer(port);
    await untilReadyz(metricsPort, 200);
  },
);

test.each(Object.keys(PROGRAMS))(
  "%s waits for an API server that accepts connections and is silent, and becomes ready once it answers",
  async (file) => {
    const { port, accepted, end } = await listenSilently();
    const program = await start(file, port);
    const { metricsPort } = await program.started;
    await accepted;
    expect(await untilReadyz(metricsPort, 503)).toMatch(/No answer|No certificate|not registered/i);
    await end();
    startApiServer(port);
    const { reason } = await program.logged(isFailedCall);
    expect(reason).toMatch(new RegExp(`^(GET|POST) /\\S+ failed: 127.0.0.1:${port} closed the connection$`));
    await untilReadyz(metricsPort, 200);
  },
);
