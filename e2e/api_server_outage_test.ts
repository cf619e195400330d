import { expect, setDefaultTimeout, test } from "bun:test";
import { mkdir, mkdtempDisposable, writeFile } from "node:fs/promises";
import { createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { kubeconfigOf, type SimulatedApiServer, startSimulatedApiServer } from "../kubernetes/simulated/api_server.ts";
import { startSimulatedDraKubelet } from "../kubernetes/simulated/dra_kubelet.ts";
import { type LogLine, type Program, startProgram } from "../program/processes/child_program.ts";
import { bundle, freePort } from "../program/testing.ts";

setDefaultTimeout(60_000); // on a small machine, processes start slowly

/** Accepts connections on a port of 127.0.0.1 and never answers. Returns the port, and a function that ends it. */
async function listenSilently() {
  const sockets = new Set<Socket>();
  const connected = Promise.withResolvers<void>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.once("data", () => connected.resolve());
  });
  const port = await freePort();
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  async function end() {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  }
  return { port, connected: connected.promise, end };
}

const CLIENTS_FILE = join(import.meta.dir, "../webhook/deploy/clients.yaml");
const POOL = { POOL_SERVERS: "127.0.0.1:1" };

/** Environment of each program, for a temporary directory. */
const PROGRAMS: Record<
  string,
  (directory: string, resources: AsyncDisposableStack) => Promise<Record<string, string>>
> = {
  "webhook/main.ts": async () => ({ PORT: "0", CLIENTS_FILE }),
  "controller/main.ts": async () => POOL,
  "plugin/main.ts": async (directory, resources) => {
    const environment = {
      PLUGINS_REGISTRY_DIR: join(directory, "registry"),
      DRIVER_DIR: join(directory, "driver"),
      CDI_DIR: join(directory, "cdi"),
    };
    await mkdir(environment.PLUGINS_REGISTRY_DIR);
    resources.use(await startSimulatedDraKubelet({ directory: environment.PLUGINS_REGISTRY_DIR }));
    return environment;
  },
};

const BUNDLES = new Map<string, string>();
for (const file of Object.keys(PROGRAMS)) BUNDLES.set(file, await bundle(file));

/** Starts a program whose API server should be on this port. */
async function start(file: string, port: number, resources: AsyncDisposableStack): Promise<Program> {
  const directory = resources.use(await mkdtempDisposable(join(tmpdir(), "outage-")));
  const KUBECONFIG = join(directory.path, "kubeconfig");
  await writeFile(KUBECONFIG, kubeconfigOf(`http://127.0.0.1:${port}`));
  const environment = { KUBECONFIG, ...(await PROGRAMS[file]?.(directory.path, resources)) };
  return resources.use(startProgram(BUNDLES.get(file) ?? file, { environment, ready: "Started" }));
}

/** Starts the API server, with the namespace of the programs and the configurations of the webhook. */
function startApiServer(port: number): SimulatedApiServer {
  const api = startSimulatedApiServer({ port });
  api.store.put("/api/v1/namespaces/bitfusion-system", {});
  for (const kind of ["mutating", "validating"]) {
    const path = `/apis/admissionregistration.k8s.io/v1/${kind}webhookconfigurations/bitfusion-webhook`;
    api.store.put(path, { webhooks: [] });
  }
  return api;
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

const NOT_READY = /No answer|No certificate|not registered/i;

test.concurrent.each(Object.keys(PROGRAMS))(
  "%s waits for an API server that refuses connections, and says so, and becomes ready once it answers",
  async (file) => {
    await using resources = new AsyncDisposableStack();
    const port = await freePort();
    const program = await start(file, port, resources);
    const { metricsPort } = await program.started;
    const { reason } = await program.logged(isFailedCall);
    expect(reason).toMatch(new RegExp(`^(GET|POST) /\\S+ failed: 127.0.0.1:${port} refused the connection$`));
    expect(await untilReadyz(metricsPort, 503)).toMatch(NOT_READY);
    resources.use(startApiServer(port));
    await untilReadyz(metricsPort, 200);
  },
);

test.concurrent.each(Object.keys(PROGRAMS))(
  "%s waits for an API server that never answers, and says so, and becomes ready once it answers",
  async (file) => {
    await using resources = new AsyncDisposableStack();
    const { port, end } = await listenSilently();
    const program = await start(file, port, resources);
    const { metricsPort } = await program.started;
    const { reason } = await program.logged(isFailedCall);
    expect(reason).toMatch(/^(GET|POST) \/\S+ was not answered within 10 s$/);
    expect(await untilReadyz(metricsPort, 503)).toMatch(NOT_READY);
    await end();
    resources.use(startApiServer(port));
    await untilReadyz(metricsPort, 200);
  },
);

test.concurrent.each(Object.keys(PROGRAMS))(
  "%s ends at once on SIGTERM while the API server does not answer",
  async (file) => {
    await using resources = new AsyncDisposableStack();
    const { port, connected, end } = await listenSilently();
    resources.defer(end);
    const program = await start(file, port, resources);
    await connected;
    const before = performance.now();
    process.kill(program.pid, "SIGTERM");
    expect(await program.exited).toBe(0);
    expect(performance.now() - before).toBeLessThan(5000); // a call may take 10 s
    expect(await program.stderr).toBe("");
  },
);
