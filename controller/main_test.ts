import { afterEach, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempDisposable, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Node } from "../kubernetes/objects/node.ts";
import { RESOURCE_SLICES, type ResourceSlice } from "../kubernetes/objects/resource_slice.ts";
import { kubeconfigOf, startSimulatedApiServer } from "../kubernetes/simulated/api_server.ts";
import { createObjectStore } from "../kubernetes/simulated/objects.ts";
import { deviceName } from "../pool/device_name.ts";
import { TEST_TOKEN } from "../pool/token/testing.ts";
import { createLatest } from "../program/latest.ts";
import { startProgram } from "../program/processes/child_program.ts";
import { bundle, freePort, usedPort } from "../program/testing.ts";
import { startPoolServer } from "../server/testing.ts";
import { toResourceSlice } from "./slices/slice.ts";
import { devicesOf } from "./testing.ts";

setDefaultTimeout(20_000); // on a small machine, processes start slowly
const CONTROLLER = await bundle("controller/main.ts");

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** Starts an API server. `controller` starts a controller in its own process. */
async function start(onRequest?: (request: Request) => Response | undefined | Promise<Response>) {
  const store = createObjectStore();
  const data = Object.entries(TEST_TOKEN).map(([name, text]) => [name, btoa(text)]);
  store.put("/api/v1/namespaces/bitfusion-system", { metadata: { uid: "uid-of-namespace" } });
  store.put("/api/v1/namespaces/kube-system/secrets/bitfusion-secret", { data: Object.fromEntries(data) });
  const requests = createLatest(0);
  const api = startSimulatedApiServer({
    async onRequest(request) {
      const response = onRequest?.(request) ?? (await store.answer(request));
      requests.set((requests.current ?? 0) + 1);
      return response;
    },
  });
  cleanups.push(() => api[Symbol.asyncDispose]());
  const folder = await mkdtempDisposable(join(tmpdir(), "controller-"));
  cleanups.push(() => folder.remove());
  const kubeconfig = join(folder.path, "kubeconfig");
  await writeFile(kubeconfig, kubeconfigOf(api.url));
  function controller(environment: Record<string, string>, ready = "Started") {
    const program = startProgram(CONTROLLER, {
      environment: { KUBECONFIG: kubeconfig, ...environment },
      ready,
    });
    cleanups.push(() => program[Symbol.asyncDispose]());
    return program;
  }
  const slices = () =>
    [...store.objects].flatMap(([path, slice]) =>
      path.startsWith(`${RESOURCE_SLICES}/`) ? [slice as unknown as ResourceSlice] : [],
    );
  async function until(isExpected: (devices: ReturnType<typeof devicesOf>) => boolean): Promise<void> {
    for await (const _ of requests.changes(AbortSignal.timeout(15_000))) if (isExpected(devicesOf(slices()))) return;
    throw new Error(`Waited 15 s: ${JSON.stringify(slices())}`);
  }
  return { ...store, kubeconfig, controller, slices, until };
}

const DEVICE = `bitfusion-0/${deviceName("server/0")}`;

test("the controller publishes the pool's GPUs in slices of its namespace, and its successor taints those of a dead server", async () => {
  const first = await startPoolServer();
  const { controller, slices, until } = await start();
  const environment = { POOL_SERVERS: first.address, INTERVAL: "0.3" };
  const leader = controller(environment, "Leading");
  await until((devices) => devices.has(DEVICE));
  expect(slices().map(({ metadata }) => metadata.ownerReferences)).toEqual([
    [{ apiVersion: "v1", kind: "Namespace", name: "bitfusion-system", uid: "uid-of-namespace" }],
  ]);
  controller(environment);
  await leader[Symbol.asyncDispose]();
  await first[Symbol.asyncDispose]();
  await until((devices) => devices.get(DEVICE)?.taints?.[0]?.effect === "NoSchedule");
  await using _ = await startPoolServer({ port: first.port });
  await until((devices) => devices.has(DEVICE) && !devices.get(DEVICE)?.taints);
});

test("the controller prints one line if METRICS_PORT is in use, and exits with status 2", async () => {
  const used = await usedPort();
  const { controller } = await start();
  const { exited, stderr } = controller({ METRICS_PORT: String(used) });
  expect(await exited).toBe(2);
  expect(await stderr).toBe(`controller: Cannot listen on METRICS_PORT="${used}": it is in use\n`);
});

test("the command uninstall names the pods that use the pool, and exits with status 1", async () => {
  const { kubeconfig, put } = await start();
  const containers = [{ resources: { limits: { "bitfusion.io/gpu": "50" } } }];
  put("/api/v1/namespaces/team/pods/train", { spec: { containers }, status: { phase: "Running" } });
  const program = Bun.spawn([process.execPath, CONTROLLER, "uninstall"], {
    env: { PATH: process.env.PATH, KUBECONFIG: kubeconfig },
    stdio: ["ignore", "pipe", "pipe"],
  });
  expect(await program.exited).toBe(1);
  expect(await program.stdout.text()).toBe("");
  expect(await program.stderr.text()).toBe(
    "controller: Cannot uninstall while these use GPUs of the pool, or wait for some:\n  pod team/train\n",
  );
});

test("after the command uninstall, replicas say that nothing is published, and how to undo it", async () => {
  await using server = await startPoolServer();
  const { controller, put, until, remove } = await start();
  const lease = "/apis/coordination.k8s.io/v1/namespaces/bitfusion-system/leases/bitfusion-controller";
  put(lease, { spec: { holderIdentity: "uninstall_1", leaseDurationSeconds: 2 ** 31 - 1 } });
  const { metricsPort } = await controller({ POOL_SERVERS: server.address, METRICS_PORT: "0" }).started;
  const status =
    "nothing is published: the pool was withdrawn to uninstall it; to undo that, run kubectl delete lease -n bitfusion-system bitfusion-controller";
  for (const deadline = AbortSignal.timeout(15_000); ; await Bun.sleep(20)) {
    deadline.throwIfAborted();
    if ((await readiness(metricsPort)).body === `ok: ${status}\n`) break;
  }
  remove(lease);
  await until((devices) => devices.has(DEVICE));
  expect(await readiness(metricsPort)).toEqual({ status: 200, body: "ok: leading\n" });
});

/** Fetches /readyz. */
async function readiness(port: unknown): Promise<{ status: number; body: string }> {
  const response = await fetch(`http://127.0.0.1:${port}/readyz`);
  return { status: response.status, body: await response.text() };
}

test("with ALLOCATION=units the controller publishes nothing, and reports why", async () => {
  const { controller, slices } = await start();
  const { metricsPort } = await controller({ ALLOCATION: "units", POOL_SERVERS: "127.0.0.1:1" }, "Idle").started;
  expect(await readiness(metricsPort)).toEqual({ status: 200, body: "ok: nothing is published: ALLOCATION=units\n" });
  expect(slices()).toEqual([]);
});

test("without pool servers the controller is ready and publishes nothing", async () => {
  const { controller, slices } = await start();
  const metricsPort = await freePort();
  const noServers = "No pool server is configured: GPUs that are published get no new pods";
  await controller({ METRICS_PORT: String(metricsPort) }, noServers).started;
  const body = "ok: nothing is published: no pool server is configured\n";
  expect(await readiness(metricsPort)).toEqual({ status: 200, body });
  expect(slices()).toEqual([]);
});

test("when POOL_SERVERS is emptied, the controller keeps and taints the GPUs, and is not ready", async () => {
  await using server = await startPoolServer();
  const { controller, until } = await start();
  const before = controller({ POOL_SERVERS: server.address }, "Leading");
  await until((devices) => devices.has(DEVICE));
  await before[Symbol.asyncDispose]();
  const { metricsPort } = await controller({}).started;
  await until((devices) => devices.get(DEVICE)?.taints?.[0]?.key === "bitfusion.io/gone");
  expect(await readiness(metricsPort)).toEqual({
    status: 503,
    body: "No pool server is configured: the published GPUs (1) get no new pods; set POOL_SERVERS, or ALLOCATION=units to withdraw them\n",
  });
});

test("the controller is not ready if its servers have another protocol and report no GPUs, and names the component", async () => {
  await using server = await startPoolServer();
  const { controller, slices } = await start();
  const METRICS_PORT = String(await freePort());
  const environment = { POOL_SERVERS: server.address, POOL_TOKEN: "none", METRICS_PORT };
  const { reason } = await controller(environment, "Cannot publish the pool").started;
  expect(reason).toBe(
    `The pool's servers (${server.address}) do not report GPUs that the scheduler could share: install the kustomize component components/units`,
  );
  expect(await readiness(METRICS_PORT)).toEqual({ status: 503, body: `${reason}\n` });
  expect(slices()).toEqual([]);
});

test("with ALLOCATION=units the controller removes published slices once the previous leader has ended", async () => {
  await using server = await startPoolServer();
  const { controller, until } = await start();
  const environment = { POOL_SERVERS: server.address, INTERVAL: "0.3" };
  const previous = controller(environment, "Leading");
  await until((devices) => devices.has(DEVICE));
  await controller({ ...environment, ALLOCATION: "units" }, "Idle").started;
  await previous[Symbol.asyncDispose]();
  await until((devices) => devices.size === 0);
});

test("with ALLOCATION=units the controller removes the label and the capacity of nodes", async () => {
  const { controller, get, put, version } = await start();
  const units = { "bitfusion.io/gpu": "1G" };
  const EMPTY = { capacity: {}, allocatable: {} };
  put("/api/v1/nodes/a", {
    metadata: { labels: { "bitfusion.io/driver-ready": "true" } },
    status: { capacity: units, allocatable: units },
  });
  controller({ ALLOCATION: "units" });
  const isCleared = ({ metadata, status }: Node) => Bun.deepEquals([metadata.labels, status], [{}, EMPTY]);
  for await (const _ of version.changes(AbortSignal.timeout(15_000))) {
    if (isCleared(get<Node>("/api/v1/nodes/a") as Node)) return;
  }
  throw new Error(`Waited 15 s: ${JSON.stringify(get("/api/v1/nodes/a"))}`);
});

test("with ALLOCATION=units the controller retries a removal that the API server rejects, and removes no other driver's slice", async () => {
  let removals = 0;
  const { controller, put, slices, until } = await start(({ method }) =>
    method === "DELETE" && removals++ === 0 ? new Response("overloaded", { status: 503 }) : undefined,
  );
  const other = toResourceSlice({ name: "other", devices: [] });
  put(`${RESOURCE_SLICES}/other`, { ...other, spec: { ...other.spec, driver: "gpu.example.com" } });
  put(`${RESOURCE_SLICES}/bitfusion-0`, toResourceSlice({ name: "bitfusion-0", devices: [{ name: "gpu" }] }));
  controller({ ALLOCATION: "units" });
  await until((devices) => devices.size === 0);
  expect(removals).toBe(2);
  expect(slices().map(({ metadata }) => metadata.name)).toEqual(["other"]);
});

test("the controller is not ready before it knows whether the API server supports sharing by claims", async () => {
  const asked = Promise.withResolvers<void>();
  const { controller } = await start(({ method, url }) => {
    if (method !== "POST" || !url.includes("resourceslices")) return undefined;
    asked.resolve();
    return new Promise<Response>(() => {}); // no answer
  });
  const METRICS_PORT = String(await freePort());
  controller({ POOL_SERVERS: "127.0.0.1:1", METRICS_PORT });
  await asked.promise;
  const body = "Not known yet whether the API server supports claims by capacity\n";
  expect(await readiness(METRICS_PORT)).toEqual({ status: 503, body });
});

test("the controller is not ready if the API server does not support sharing by claims, and names the component", async () => {
  const { controller, slices } = await start(({ method }) =>
    method === "POST" ? new Response("404 page not found", { status: 404 }) : undefined,
  );
  const METRICS_PORT = String(await freePort());
  const program = controller({ POOL_SERVERS: "127.0.0.1:1", METRICS_PORT }, "Cannot share the pool by claims");
  const reason =
    "The API server does not support resource.k8s.io/v1 (Kubernetes 1.34 and later): upgrade it, or install the kustomize component components/units";
  expect(await program.started).toMatchObject({ reason });
  expect(await readiness(METRICS_PORT)).toEqual({ status: 503, body: `${reason}\n` });
  expect(slices()).toEqual([]);
});
