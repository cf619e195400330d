import { afterAll, afterEach, expect, setDefaultTimeout, test } from "bun:test";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { podPath } from "../kubernetes/objects/pod.ts";
import { claimPath } from "../kubernetes/objects/resource_claim.ts";
import { RESOURCE_SLICES } from "../kubernetes/objects/resource_slice.ts";
import { kubeconfigOf, startSimulatedApiServer } from "../kubernetes/simulated/api_server.ts";
import { startSimulatedDraKubelet } from "../kubernetes/simulated/dra_kubelet.ts";
import { type SimulatedKubelet, startSimulatedKubelet } from "../kubernetes/simulated/kubelet.ts";
import { deviceName } from "../pool/device_name.ts";
import { writeTestToken } from "../pool/token/testing.ts";
import { bundle, freePort, usedPort } from "../program/testing.ts";
import { startPoolServer as startPoolServerHere, writeTestConfiguration } from "../server/testing.ts";
import { sliceOf } from "./driver/testing.ts";

setDefaultTimeout(30_000); // on a small machine, processes start slowly
const RESOURCE = "bitfusion.io/gpu";
const [PLUGIN, SERVER] = await Promise.all([bundle("plugin/main.ts"), bundle("server/main.ts")]);
const folder = await mkdtemp(join(tmpdir(), "pool-"));
const POOL_TOKEN = await writeTestToken(join(folder, "token"));
afterAll(() => rm(folder, { recursive: true, force: true }));
const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function createKubeletDirectory(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "plugin-"));
  cleanups.push(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

async function startKubelet(directory: string): Promise<SimulatedKubelet> {
  const kubelet = await startSimulatedKubelet({ directory, resourceName: RESOURCE });
  cleanups.push(() => kubelet[Symbol.asyncDispose]());
  return kubelet;
}

function start(program: string, environment: Record<string, string>): Bun.Subprocess<"ignore", "pipe", "pipe"> {
  const child = Bun.spawn([process.execPath, program], {
    env: { PATH: process.env.PATH, ...environment },
    stdio: ["ignore", "pipe", "pipe"],
  });
  cleanups.push(async () => {
    child.kill("SIGKILL");
    await child.exited;
  });
  return child;
}

function startPlugin(directory: string, environment: Record<string, string>) {
  return start(PLUGIN, { ALLOCATION: "units", KUBELET_DIR: directory, INTERVAL: "0.5", POOL_TOKEN, ...environment });
}

/** Waits until the kubelet has this many allocatable units and this capacity. */
async function untilAllocatable(kubelet: SimulatedKubelet, units: number, capacity = units): Promise<void> {
  for await (const resource of kubelet.resource.changes(AbortSignal.timeout(20_000))) {
    if (resource.allocatable === units && resource.capacity === capacity) return;
  }
  throw new Error(`Expected ${units} allocatable units of ${capacity}: ${JSON.stringify(kubelet.resource.current)}`);
}

/** Calls Allocate and returns the error. `expect().rejects` would block the events of the connection. */
function refusal(kubelet: SimulatedKubelet, containers: string[][]): Promise<string> {
  return kubelet.callAllocate(containers).then(String, String);
}

/** Waits for a log line of the plugin that contains this text. */
async function untilLogged(plugin: Bun.Subprocess<"ignore", "pipe", "pipe">, text: string): Promise<string> {
  let output = "";
  for await (const chunk of plugin.stdout) {
    output += new TextDecoder().decode(chunk);
    const line = output.split("\n").find((each) => each.includes(text) && each.endsWith("}"));
    if (line) return line;
  }
  throw new Error(`Never logged "${text}": ${output}`);
}

let servers = 0;

/** Starts a pool server with this number of GPUs and returns once it serves. */
async function startPoolServer({ name = "gpu-server", count = 1, port = 0 } = {}) {
  const listen = { host: "127.0.0.1", port };
  const parts = { name, listen, gpus: { simulated: { count } } };
  const child = start(SERVER, { CONFIG_FILE: await writeTestConfiguration(join(folder, String(++servers)), parts) });
  const started = JSON.parse(await untilLogged(child, "Pool server started"));
  return { child, port: Number(started.port) };
}

/** Starts a server that calls `answer` for each connection. Returns its host:port. */
async function startTcpServer(answer: (socket: Socket) => void): Promise<string> {
  const server = createServer((socket) => answer(socket.resume().on("error", () => {})));
  const sockets = new Set<Socket>();
  server.on("connection", (socket) => sockets.add(socket)).listen(0, "127.0.0.1");
  await once(server, "listening");
  cleanups.push(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

test("the plugin registers RESOURCE_NUMS healthy units if no server is configured", async () => {
  const directory = await createKubeletDirectory();
  const kubelet = await startKubelet(directory);
  startPlugin(directory, { RESOURCE_NUMS: "150" });
  await untilAllocatable(kubelet, 150);
  const ids = await kubelet.allocate(150);
  expect(new Set(ids).size).toBe(150);
});

test("two plugins that split the pool list each GPU exactly once", async () => {
  const server = await startPoolServer({ count: 5 });
  const environment = { POOL_SERVERS: `127.0.0.1:${server.port}`, SPLIT_NODES: "node-a, node-b" };
  const ids: string[] = [];
  for (const [NODE_NAME, units] of [
    ["node-a", 300],
    ["node-b", 200],
  ] as const) {
    const directory = await createKubeletDirectory();
    const kubelet = await startKubelet(directory);
    startPlugin(directory, { ...environment, NODE_NAME });
    await untilAllocatable(kubelet, units);
    ids.push(...(kubelet.resource.current?.devices.keys() ?? []));
  }
  expect(new Set(ids).size).toBe(500);
});

test("the plugin lists the pool's units, tracks a server that dies and returns, and keeps the ids", async () => {
  const directory = await createKubeletDirectory();
  const first = await startPoolServer({ count: 2 });
  const port = await freePort();
  const second = await startPoolServer({ port });
  const kubelet = await startKubelet(directory);
  startPlugin(directory, { POOL_SERVERS: `127.0.0.1:${first.port},127.0.0.1:${port}` });
  await untilAllocatable(kubelet, 300);
  const ids = [...(kubelet.resource.current?.devices.keys() ?? [])];
  second.child.kill("SIGKILL");
  await untilAllocatable(kubelet, 200, 300);
  await startPoolServer({ port });
  await untilAllocatable(kubelet, 300);
  expect([...(kubelet.resource.current?.devices.keys() ?? [])]).toEqual(ids);
});

test("the plugin reloads servers.conf when it changes, and keeps the last good one when it is invalid", async () => {
  const directory = await createKubeletDirectory();
  const [first, second] = await Promise.all([
    startPoolServer({ name: "first", count: 2 }),
    startPoolServer({ name: "second" }),
  ]);
  const path = join(directory, "servers.conf");
  const write = (...ports: number[]) =>
    writeFile(path, `servers:\n${ports.map((port) => `- reachable: 127.0.0.1:${port}\n`).join("")}`);
  await write(first.port);
  const kubelet = await startKubelet(directory);
  const plugin = startPlugin(directory, { SERVERS_CONF: path, INTERVAL: "0.2" });
  await untilAllocatable(kubelet, 200);
  await write(first.port, second.port);
  await untilAllocatable(kubelet, 300);
  await writeFile(path, "servers: none");
  expect(await untilLogged(plugin, "Cannot use the list of pool servers: keeping the last valid one")).toContain(
    "expected a list of servers",
  );
  await untilAllocatable(kubelet, 300);
  await write(second.port);
  await untilAllocatable(kubelet, 100);
});

test("the metrics show units by server and health, registrations, lists, allocations and round trips", async () => {
  const directory = await createKubeletDirectory();
  const { port } = await startPoolServer();
  const other = await startPoolServer({ name: "other" });
  const kubelet = await startKubelet(directory);
  const POOL_SERVERS = `127.0.0.1:${port},127.0.0.1:${other.port}`;
  const plugin = startPlugin(directory, { POOL_SERVERS, RESOURCE_NUMS: "150" });
  await untilAllocatable(kubelet, 150);
  other.child.kill("SIGKILL");
  await untilAllocatable(kubelet, 100, 150);
  const [id = ""] = await kubelet.allocate(1);
  await refusal(kubelet, [[id, id]]);
  const { metricsPort } = JSON.parse(await untilLogged(plugin, "Started"));
  const metrics = await (await fetch(`http://127.0.0.1:${metricsPort}/metrics`)).text();
  for (const line of [
    `bitfusion_device_plugin_units{server="127.0.0.1:${port}",health="healthy"} 100`,
    `bitfusion_device_plugin_units{server="127.0.0.1:${other.port}",health="unhealthy"} 50`,
    "bitfusion_device_plugin_unlisted_units 50",
    'bitfusion_device_plugin_registrations_total{result="registered"} 1',
    'bitfusion_device_plugin_allocation_duration_seconds_count{result="allocated"} 1',
    'bitfusion_device_plugin_allocation_duration_seconds_count{result="refused"} 1',
    `bitfusion_pool_round_trip_seconds_count{server="127.0.0.1:${port}"} `,
  ]) {
    expect(metrics).toContain(line);
  }
  // One more if a server answers only after the first list.
  expect(metrics).toMatch(/^bitfusion_device_plugin_list_updates_total [23]$/m);
});

test("a server that accepts connections and is silent has no units, whatever RESOURCE_NUMS is", async () => {
  const directory = await createKubeletDirectory();
  const kubelet = await startKubelet(directory);
  const address = await startTcpServer(() => {});
  const plugin = startPlugin(directory, { POOL_SERVERS: address, RESOURCE_NUMS: "100" });
  await untilAllocatable(kubelet, 0, 0);
  expect(await untilLogged(plugin, "Pool server is not reachable")).toContain("No message for");
});

test("with a token for another protocol, as that of Bitfusion's own servers, a server has RESOURCE_NUMS units", async () => {
  const directory = await createKubeletDirectory();
  const kubelet = await startKubelet(directory);
  const address = await startTcpServer(() => {});
  const token = await writeTestToken(join(directory, "token"));
  await writeFile(join(token, "client.yaml"), "apiVersion: v1\n");
  startPlugin(directory, { POOL_SERVERS: address, POOL_TOKEN: token, RESOURCE_NUMS: "100" });
  await untilAllocatable(kubelet, 100);
});

test("a server that is unreachable when the plugin starts takes no units from one that reports its GPUs", async () => {
  const directory = await createKubeletDirectory();
  const { port } = await startPoolServer();
  const kubelet = await startKubelet(directory);
  const POOL_SERVERS = `127.0.0.1:${await freePort()},127.0.0.1:${port}`;
  startPlugin(directory, { POOL_SERVERS, RESOURCE_NUMS: "100" });
  await untilAllocatable(kubelet, 100);
});

test("Allocate rejects unknown, repeated and unhealthy units, and names the unit", async () => {
  const directory = await createKubeletDirectory();
  const server = await startPoolServer();
  const kubelet = await startKubelet(directory);
  startPlugin(directory, { POOL_SERVERS: `127.0.0.1:${server.port}` });
  await untilAllocatable(kubelet, 100);
  const [first = "", second = ""] = kubelet.resource.current?.devices.keys() ?? [];
  expect(await kubelet.callAllocate([[first], [second]])).toBe(2);
  expect(await refusal(kubelet, [[first, "GPU-7"]])).toContain('Unknown unit "GPU-7"');
  expect(await refusal(kubelet, [[first, first]])).toContain(`Unit "${first}" is requested twice`);
  server.child.kill("SIGKILL");
  await untilAllocatable(kubelet, 0, 100);
  expect(await refusal(kubelet, [[first]])).toContain(`Unhealthy unit "${first}"`);
});

test("the plugin re-registers after a kubelet restart", async () => {
  const directory = await createKubeletDirectory();
  const kubelet = await startKubelet(directory);
  startPlugin(directory, { RESOURCE_NUMS: "100" });
  await untilAllocatable(kubelet, 100);
  await kubelet[Symbol.asyncDispose]();
  const restarted = await startKubelet(directory);
  await untilAllocatable(restarted, 100);
});

test("the plugin waits for a kubelet that starts later", async () => {
  const directory = await createKubeletDirectory();
  startPlugin(directory, { RESOURCE_NUMS: "100" });
  await untilAllocatable(await startKubelet(directory), 100);
});

test("the plugin exits with status 0 on SIGTERM, and removes its socket", async () => {
  const directory = await createKubeletDirectory();
  const kubelet = await startKubelet(directory);
  const plugin = startPlugin(directory, { RESOURCE_NUMS: "100" });
  await untilAllocatable(kubelet, 100);
  plugin.kill("SIGTERM");
  expect(await plugin.exited).toBe(0);
  await untilAllocatable(kubelet, 0, 100);
  expect(await readdir(directory)).toEqual(["kubelet.sock"]);
});

test("the plugin removes the socket of a killed instance, but not that of a live one", async () => {
  const directory = await createKubeletDirectory();
  const kubelet = await startKubelet(directory);
  const killed = startPlugin(directory, { RESOURCE_NUMS: "100" });
  await untilAllocatable(kubelet, 100);
  killed.kill("SIGKILL");
  await untilAllocatable(kubelet, 0, 100);
  startPlugin(directory, { RESOURCE_NUMS: "200" });
  await untilAllocatable(kubelet, 200);
  startPlugin(directory, { RESOURCE_NUMS: "300" });
  await untilAllocatable(kubelet, 300);
  expect(await readdir(directory)).toHaveLength(3); // the sockets of the kubelet and of two plugins
});

test("the plugin retries on a new socket when the kubelet refuses it", async () => {
  const directory = await createKubeletDirectory();
  let refusals = 2;
  const endpoints: string[] = [];
  const kubelet = await startSimulatedKubelet({
    directory,
    resourceName: RESOURCE,
    onRegister: ({ endpoint }) => {
      endpoints.push(endpoint);
      if (refusals-- > 0) throw new Error("Not now");
    },
  });
  cleanups.push(() => kubelet[Symbol.asyncDispose]());
  startPlugin(directory, { RESOURCE_NUMS: "100" });
  await untilAllocatable(kubelet, 100);
  expect(new Set(endpoints).size).toBe(3);
});

/** Starts a kubelet that supports DRA, and an API server with one claim. Returns the plugin's environment for both. */
async function startDraNode() {
  const directory = await createKubeletDirectory();
  const devices = await startKubelet(directory);
  const registry = join(directory, "registry");
  const kubelet = await startSimulatedDraKubelet({ directory: registry });
  const share = { request: "gpu", driver: "bitfusion.io", pool: "pool", device: deviceName("server/0") };
  const results = [{ ...share, consumedCapacity: { units: "60" } }];
  const claim = { namespace: "team", name: "train", uid: "train-1" };
  const control: { beforeResponse?: () => Promise<void> } = {};
  const pod = { name: "train-pod", uid: "train-pod-1" };
  const api = startSimulatedApiServer({ onRequest: async () => void (await control.beforeResponse?.()) });
  api.store.put(podPath({ metadata: { namespace: "team", ...pod } }), {
    metadata: pod,
    spec: { containers: [{ resources: { limits: { "bitfusion.io/gpu": "60" } } }] },
  });
  api.store.put(claimPath("team", "train"), {
    metadata: claim,
    status: { allocation: { devices: { results } }, reservedFor: [{ resource: "pods", ...pod }] },
  });
  cleanups.push(
    () => kubelet[Symbol.asyncDispose](),
    () => api[Symbol.asyncDispose](),
  );
  const pool = await startPoolServerHere();
  cleanups.push(() => pool[Symbol.asyncDispose]());
  api.store.put(`${RESOURCE_SLICES}/pool`, sliceOf("pool", [pool]));
  const environment = {
    ALLOCATION: "claims",
    POOL_SERVERS: pool.address,
    KUBECONFIG: join(directory, "kubeconfig"),
    PLUGINS_REGISTRY_DIR: registry,
    DRIVER_DIR: join(directory, "driver"),
    CDI_DIR: join(directory, "cdi"),
  };
  await writeFile(environment.KUBECONFIG, kubeconfigOf(api.url));
  return { directory, devices, kubelet, claim, control, environment };
}

/** Waits until this many instances of the driver are registered. */
async function untilDriversRegistered(
  { plugins }: Awaited<ReturnType<typeof startSimulatedDraKubelet>>,
  count: number,
) {
  for await (const all of plugins.changes(AbortSignal.timeout(20_000))) if (all.length === count) return;
  throw new Error(`Expected ${count} registered drivers: ${plugins.current?.length}`);
}

test("with units and an API server, the driver runs beside the device plugin, and both clean up on SIGTERM", async () => {
  const { directory, devices, kubelet, claim, environment } = await startDraNode();
  const plugin = startPlugin(directory, { ...environment, ALLOCATION: "units" });
  await Promise.all([untilAllocatable(devices, 100), untilDriversRegistered(kubelet, 1)]);
  const { metricsPort } = JSON.parse(await untilLogged(plugin, "Started"));
  expect((await fetch(`http://127.0.0.1:${metricsPort}/readyz`)).status).toBe(200);
  await kubelet.prepare([claim]);
  expect(await readdir(environment.CDI_DIR)).toEqual(["bitfusion.io-claim_train-1.json"]);
  const metrics = await (await fetch(`http://127.0.0.1:${metricsPort}/metrics`)).text();
  expect(metrics).toContain("bitfusion_driver_prepared_claims 1");
  await kubelet.unprepare([claim]);
  expect(await readdir(environment.CDI_DIR)).toEqual([]);
  plugin.kill("SIGTERM");
  expect(await plugin.exited).toBe(0);
  expect(await readdir(directory)).toEqual(expect.arrayContaining(["kubelet.sock"]));
  expect(await readdir(environment.PLUGINS_REGISTRY_DIR)).toEqual([]);
  expect(existsSync(environment.DRIVER_DIR)).toBe(false);
});

test("the plugin recovers from SIGKILL while it prepares a claim", async () => {
  const { directory, kubelet, claim, control, environment } = await startDraNode();
  const requested = Promise.withResolvers<void>();
  const never = new Promise<void>(() => {});
  control.beforeResponse = () => {
    requested.resolve();
    return never;
  };
  const killed = startPlugin(directory, environment);
  await untilDriversRegistered(kubelet, 1);
  const preparing = kubelet.prepare([claim]).then(String, () => "cut off");
  await requested.promise;
  killed.kill("SIGKILL");
  expect(await preparing).toBe("cut off");
  delete control.beforeResponse;
  startPlugin(directory, environment);
  await untilDriversRegistered(kubelet, 0); // the sockets of the killed instance are removed
  await untilDriversRegistered(kubelet, 1);
  expect(await kubelet.prepare([claim])).toMatchObject({ "train-1": { error: "" } });
  expect(await readdir(environment.CDI_DIR)).toEqual(["bitfusion.io-claim_train-1.json"]);
});

test("with claims the plugin prepares claims, lists no units to the kubelet, and talks to the pool only for leases", async () => {
  const { directory, devices, kubelet, claim, environment } = await startDraNode();
  let connections = 0;
  const other = await startTcpServer(() => connections++);
  const POOL_SERVERS = `${environment.POOL_SERVERS},${other}`;
  const plugin = startPlugin(directory, { ...environment, POOL_SERVERS, INTERVAL: "0.1" });
  await untilDriversRegistered(kubelet, 1);
  const { metricsPort } = JSON.parse(await untilLogged(plugin, "Started"));
  while ((await fetch(`http://127.0.0.1:${metricsPort}/readyz`)).status !== 200);
  expect(connections).toBe(0);
  expect(await kubelet.prepare([claim])).toMatchObject({ "train-1": { error: "" } });
  expect(devices.resource.current).toMatchObject({ capacity: 0, allocatable: 0 });
  plugin.kill("SIGTERM");
  expect(await plugin.exited).toBe(0);
});

test("with claims the plugin is not ready before the driver is registered", async () => {
  const { directory, environment } = await startDraNode();
  const PLUGINS_REGISTRY_DIR = join(directory, "unwatched");
  const plugin = startPlugin(directory, { ...environment, PLUGINS_REGISTRY_DIR });
  const { metricsPort } = JSON.parse(await untilLogged(plugin, "Started"));
  const response = await fetch(`http://127.0.0.1:${metricsPort}/readyz`);
  expect([response.status, await response.text()]).toEqual([503, "Driver not registered with the kubelet\n"]);
});

test.each([
  {},
  { KUBERNETES_SERVICE_HOST: "10.96.0.1" }, // the pod has no service account token mounted
])("with units, the driver does not run without an API server: %j", async (environment) => {
  const plugin = startPlugin(await createKubeletDirectory(), { ...environment, RESOURCE_NUMS: "100" });
  expect(JSON.parse(await untilLogged(plugin, "The driver"))).toMatchObject({
    message: "The driver does not run",
    because: "There is neither a service account nor KUBECONFIG",
  });
});

const used = await usedPort();

test.each([
  [{ ALLOCATION: "units" }, "Cannot start without POOL_SERVERS: expected host:port"],
  [{}, "Cannot find the API server: expected"],
  [
    { ALLOCATION: "units", SERVERS_CONF: "/nowhere/servers.conf", POOL_TOKEN: "none" },
    "Cannot read the pool's servers from /nowhere/servers.conf",
  ],
  [{ ALLOCATION: "units", KUBELET_DIR: `/${"x".repeat(120)}`, RESOURCE_NUMS: "1" }, "the path of a socket would have"],
  [{ KUBECONFIG: "/nowhere", RESOURCE_NUMS: "1" }, 'Cannot read KUBECONFIG="/nowhere"'],
  [
    { ALLOCATION: "units", METRICS_PORT: String(used), RESOURCE_NUMS: "1" },
    `Cannot listen on METRICS_PORT="${used}": it is in use`,
  ],
  [{ ALLOCATION: "claims", KUBECONFIG: "package.json", RESOURCE_NUMS: "1" }, "Cannot find the API server: expected"],
])("the plugin exits with status 2 and a one-line message for %j", async (environment, message) => {
  const plugin = start(PLUGIN, environment as Record<string, string>);
  expect(await plugin.exited).toBe(2);
  const stderr = await new Response(plugin.stderr).text();
  expect(stderr).toContain(message);
  expect(stderr.trim().split("\n")).toHaveLength(1);
});
