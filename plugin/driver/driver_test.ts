import { afterEach, expect, test } from "bun:test";
import { once } from "node:events";
import { closeSync, openSync } from "node:fs";
import { mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import type { V1DeviceRequestAllocationResult } from "@kubernetes/client-node";
import { Registry } from "prom-client";
import type { ResourceClaim } from "../../kubernetes/objects/resource_claim.ts";
import { RESOURCE_SLICES } from "../../kubernetes/objects/resource_slice.ts";
import { connectWithKubeconfig, kubeconfigOf, startSimulatedApiServer } from "../../kubernetes/simulated/api_server.ts";
import {
  type SimulatedDraKubelet,
  type SimulatedDraKubeletOptions,
  startSimulatedDraKubelet,
} from "../../kubernetes/simulated/dra_kubelet.ts";
import type { Allocation } from "../../pool/allocation/allocation.ts";
import { deviceName } from "../../pool/device_name.ts";
import type { Token } from "../../pool/token/token.ts";
import { createLatest, type Latest } from "../../program/latest.ts";
import { createRecordingLog } from "../../program/testing.ts";
import type { PluginInfo } from "../../proto/gen/pluginregistration/v1/api_pb.ts";
import { type PoolServerOptions, type RunningPoolServer, startPoolServer } from "../../server/testing.ts";
import { TEST_CLIENT } from "../../tls/testing.ts";
import { DirectoryDeletedError } from "../file_watch.ts";
import type { ClaimId } from "./claims/claim.ts";
import { createDriver } from "./driver.ts";
import { createClaimFiles } from "./files/claim_files.ts";
import { sliceOf } from "./testing.ts";

/*
 * The kubelet's rules for DRA drivers, from its source (pkg/kubelet/pluginmanager, pkg/kubelet/cm/dra). Each test names
 * its rule.
 *
 *  1 A socket in the registry reports type, name, endpoint and services. The kubelet reports the result.
 *  2 A restarted kubelet registers the sockets that it finds, and prepares the claims of the pods that it starts again.
 *  3 When a socket disappears from the registry, the kubelet deregisters the driver.
 *  4 An endpoint is registered once. Several instances can be registered at once. Calls go to the latest.
 *  5 Each claim of a call needs its own result, and has its own error. An error of the call fails all its claims.
 *  6 A claim can be prepared any number of times.
 *  7 A claim can be unprepared any number of times, even if it was never prepared or no longer exists.
 *  8 A call that the kubelet cancels counts as never made. The next call may go to another instance.
 *  9 A kubelet that has forgotten a claim never unprepares it.
 * 10 A driver that ends removes its registration first.
 * 11 The kubelet watches the health of devices if the driver announces it. Each message is the whole list. A device that no message names is of
 *    unknown health after a while. The pod's status has one entry for each CDI device.
 */

/** The devices of the pool's first two GPUs. */
const [GPU_A, GPU_B] = ["server/0", "server/1"].map(deviceName) as [string, string];

const CLAIMS = "/apis/resource.k8s.io/v1/namespaces/team/resourceclaims";
const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

type MaybeResponse = Response | undefined | Promise<Response | undefined>;

interface NodeOptions {
  /** The pool's servers. By default one with two GPUs. */
  pool?: readonly RunningPoolServer[];
}

async function startPool(options: PoolServerOptions = {}): Promise<RunningPoolServer> {
  const server = await startPoolServer({ gpus: 2, ...options });
  cleanups.push(() => server[Symbol.asyncDispose]());
  return server;
}

/** Creates the directories of a node, and starts an API server that can be made to fail. */
async function startNode({ pool: servers }: NodeOptions = {}) {
  const pool = servers ?? [await startPool()];
  const root = await mkdtemp(join(tmpdir(), "node-"));
  cleanups.push(() => rm(root, { recursive: true, force: true }));
  const control: { onRequest?: (request: Request) => MaybeResponse } = {};
  const api = startSimulatedApiServer({ onRequest: (request) => control.onRequest?.(request) });
  const { store } = api;
  cleanups.push(() => api[Symbol.asyncDispose]());
  const { request } = await connectWithKubeconfig(kubeconfigOf(api.url));
  store.put(`${RESOURCE_SLICES}/pool`, sliceOf("pool", pool));
  const directories = { registry: join(root, "registry"), driver: join(root, "driver"), cdi: join(root, "cdi") };
  await mkdir(directories.cdi);

  /** Adds a claim and its pod, whose units cover it. By default, the scheduler has allocated 60 percent of a GPU to it. */
  function addClaim(
    name: string,
    results: Partial<V1DeviceRequestAllocationResult>[] = [{}],
    uid: string = crypto.randomUUID(),
  ): ClaimId {
    const share = { request: "gpu", driver: "bitfusion.io", pool: "pool", device: GPU_A };
    const allocated = results.map((result) => ({ ...share, consumedCapacity: { units: "60" }, ...result }));
    const pod = { name: `pod-of-${name}`, uid: `uid-of-${name}` };
    const limits = { "bitfusion.io/gpu": "1000" };
    const spec = {
      containers: [{ resources: { limits } }],
      resourceClaims: [{ name: "gpu", resourceClaimName: name }],
    };
    store.put(`/api/v1/namespaces/team/pods/${pod.name}`, { metadata: pod, spec });
    store.objects.set(`${CLAIMS}/${name}`, {
      metadata: { name, namespace: "team", uid },
      status: {
        allocation: { devices: { results: allocated } },
        reservedFor: [{ resource: "pods", ...pod }],
      },
    } as never);
    return { namespace: "team", name, uid };
  }

  /** Runs an instance of the driver until the end of the test. */
  function startDriver({
    allocation = "claims",
    node = "node-1",
    outageTime = 3_600_000,
    token = createLatest<Token>({ tls: TEST_CLIENT }),
    cdiDirectory = directories.cdi,
  }: {
    allocation?: Allocation;
    node?: string;
    outageTime?: number;
    token?: Latest<Token>;
    cdiDirectory?: string;
  } = {}) {
    const registry = new Registry();
    const lines: string[] = [];
    const driver = createDriver({
      settings: {
        pluginsRegistryDirectory: directories.registry,
        driverDirectory: directories.driver,
        cdiDirectory,
        servers: pool.map(({ address }) => ({ address })),
        nodeName: node,
        outageTime,
        slowRoundTrip: 0,
        allocation,
      },
      token,
      request,
      registry,
      log: createRecordingLog(lines),
    });
    const stop = new AbortController();
    const ended = driver.run(stop.signal);
    const end = () => {
      stop.abort();
      return ended;
    };
    cleanups.push(() =>
      end().catch((error) => {
        if (!(error instanceof DirectoryDeletedError)) throw error;
      }),
    );
    return { ...driver, registry, lines, ended, end };
  }

  async function startKubelet(options: Omit<SimulatedDraKubeletOptions, "directory"> = {}) {
    const kubelet = await startSimulatedDraKubelet({ directory: directories.registry, ...options });
    cleanups.push(() => kubelet[Symbol.asyncDispose]());
    return kubelet;
  }

  return {
    directories,
    pool: pool as [RunningPoolServer, ...RunningPoolServer[]],
    store,
    objects: store.objects,
    control,
    requests: api.requests,
    addClaim,
    startDriver,
    startKubelet,
  };
}

/** Starts a node with one instance of the driver, which is registered with the kubelet. */
async function startNodeWithDriver(options: NodeOptions = {}) {
  const node = await startNode(options);
  const kubelet = await node.startKubelet();
  const driver = node.startDriver();
  const plugins = await untilRegistered(kubelet);
  return { ...node, kubelet, driver, plugins };
}

/** Waits until this many instances are registered, none of them among `others`. */
async function untilRegistered(
  { plugins }: SimulatedDraKubelet,
  count = 1,
  others: readonly PluginInfo[] = [],
): Promise<readonly PluginInfo[]> {
  for await (const all of plugins.changes(AbortSignal.timeout(4500))) {
    if (all.length === count && !all.some(({ endpoint }) => others.some((other) => other.endpoint === endpoint))) {
      return all;
    }
  }
  throw new Error(`Expected ${count} registered instances: ${plugins.current?.map(({ endpoint }) => endpoint)}`);
}

/** The names of the files of these claims, sorted. */
function fileNames(...claims: ClaimId[]): string[] {
  return claims.map(({ uid }) => `bitfusion.io-claim_${uid}.json`).sort();
}

async function namesIn(directory: string): Promise<string[]> {
  return (await readdir(directory)).sort();
}

/** What the pool's servers have granted: owner, GPU and units of each lease. */
function leasesOf(...pool: readonly RunningPoolServer[]): string[] {
  return pool.flatMap(({ ledger }) =>
    ledger.leases().map(({ owner, gpus }) => {
      const shares = gpus.map(({ gpuId, units }) => `${gpuId} at ${units}`).join(", ");
      return `${owner.namespace}/${owner.pod}/${owner.container}: ${shares}`;
    }),
  );
}

/** What containers with this claim find in their folder, by the path that its CDI file has. */
async function proofsFor(directory: string, { uid }: ClaimId): Promise<unknown> {
  const spec = JSON.parse(await readFile(join(directory, `bitfusion.io-claim_${uid}.json`), "utf8"));
  const [{ hostPath }] = spec.devices[0].containerEdits.mounts;
  expect(await readFile(join(hostPath, "ca.crt"), "utf8")).toBe(TEST_CLIENT.ca);
  return JSON.parse(await readFile(join(hostPath, "leases.json"), "utf8")).leases;
}

/** What proves the leases of these servers. */
function proofsOf(...pool: readonly RunningPoolServer[]): unknown[] {
  return pool.flatMap(({ address, ledger }) =>
    ledger.leases().map(({ id: leaseId, secret }) => ({ address, leaseId, secret })),
  );
}

/** Polls until the condition is true. */
async function until(condition: () => Promise<boolean>): Promise<void> {
  for (const deadline = AbortSignal.timeout(4500); !(await condition()); await Bun.sleep(5)) deadline.throwIfAborted();
}

/** Waits until the directory contains exactly these files. */
async function untilNamesIn(directory: string, names: readonly string[]): Promise<void> {
  await until(async () => Bun.deepEquals(await namesIn(directory), names));
}

/** Writes files of claims, as an ended instance leaves them behind. */
async function leaveFiles({ cdi, driver }: { cdi: string; driver: string }, ...claims: ClaimId[]): Promise<void> {
  const files = createClaimFiles({ cdiDirectory: cdi, recordDirectory: join(driver, "claims") });
  const shares = [{ request: "gpu", pool: "pool", device: GPU_A, units: 60 }];
  const owner = { namespace: "team", pod: "train", container: "" };
  for (const claim of claims) {
    const prepared = { ...claim, owner, node: "node-1", containers: [], shares, leases: [] };
    await files.write(prepared, TEST_CLIENT.ca, AbortSignal.timeout(4000));
  }
}

function unavailable(): Response {
  return Response.json({ message: "etcd is down" }, { status: 503 });
}

test("rule 1: the driver reports its facts, is ready once it is registered, and serves its endpoint", async () => {
  const node = await startNode();
  const kubelet = await node.startKubelet();
  const driver = node.startDriver();
  expect(driver.notReady()).toBe("Driver not registered with the kubelet");
  const [info] = await untilRegistered(kubelet);
  expect(info).toMatchObject({
    type: "DRAPlugin",
    name: "bitfusion.io",
    supportedVersions: ["v1.DRAPlugin", "v1.DRAResourceHealth", "v1alpha1.DRAResourceHealth"],
  });
  expect(dirname(info?.endpoint ?? "")).toBe(node.directories.driver);
  await until(async () => driver.notReady() === undefined);
  const claim = node.addClaim("train");
  expect(await kubelet.prepare([claim])).toMatchObject({
    [claim.uid]: {
      error: "",
      devices: [
        {
          requestNames: ["gpu"],
          poolName: "pool",
          deviceName: GPU_A,
          cdiDeviceIds: [`bitfusion.io/claim=${claim.uid}_${GPU_A}`],
        },
      ],
    },
  });
  expect(leasesOf(...node.pool)).toEqual(["team/train/: server/0 at 60"]);
  expect(await proofsFor(node.directories.cdi, claim)).toEqual(proofsOf(...node.pool));
});

test("rule 1: the driver waits for a kubelet that creates its registry later", async () => {
  const node = await startNode();
  const { lines } = node.startDriver();
  for (let tick = 0; tick < 50; tick++) await new Promise(setImmediate);
  await untilRegistered(await node.startKubelet());
  expect(lines).toEqual(["Registered: undefined"]);
});

test("rule 2: a restarted kubelet finds the same instance, and prepares its claims again", async () => {
  const { kubelet, plugins: before, ...node } = await startNodeWithDriver();
  const claim = node.addClaim("train", [{ shareID: "s-1" }, { device: GPU_B, shareID: "s-2" }]);
  const first = await kubelet.prepare([claim]);
  await kubelet[Symbol.asyncDispose]();
  const restarted = await node.startKubelet();
  expect(await untilRegistered(restarted)).toEqual(before);
  expect(await restarted.prepare([claim])).toEqual(first);
  expect(await namesIn(node.directories.cdi)).toEqual(fileNames(claim));
});

test.each(["registry", "driver"] as const)(
  "rule 3: the driver serves new sockets when its socket in the %s directory is deleted",
  async (which) => {
    const { kubelet, driver, plugins: before, ...node } = await startNodeWithDriver();
    const directory = node.directories[which];
    const [socket = ""] = await namesIn(directory);
    await rm(join(directory, socket));
    await untilRegistered(kubelet, 1, before);
    await until(async () => driver.notReady() === undefined);
    expect(await namesIn(directory)).toHaveLength(1);
  },
);

test.each(["registry", "driver"] as const)(
  "rule 3: the driver serves new sockets when its %s directory is replaced",
  async (which) => {
    const { kubelet, plugins: before, ...node } = await startNodeWithDriver();
    const directory = node.directories[which];
    await rename(directory, `${directory}.old`);
    await mkdir(directory);
    await untilRegistered(kubelet, 1, before);
  },
);

test("rule 3: the driver is not ready from the end of its registration until the next one", async () => {
  const { kubelet, driver, ...node } = await startNodeWithDriver();
  await until(async () => driver.notReady() === undefined);
  await kubelet[Symbol.asyncDispose]();
  const [socket = ""] = await namesIn(node.directories.registry);
  await rm(join(node.directories.registry, socket));
  await until(async () => driver.notReady() === "Driver not registered with the kubelet");
  await untilRegistered(await node.startKubelet());
  await until(async () => driver.notReady() === undefined);
});

test("rule 4: instances can overlap, and the later one serves the claims of the earlier one", async () => {
  const { kubelet, driver: old, plugins, ...node } = await startNodeWithDriver();
  const [first] = plugins as [PluginInfo];
  const claim = node.addClaim("train");
  await kubelet.prepare([claim]);
  node.startDriver();
  expect((await untilRegistered(kubelet, 2))[0]).toEqual(first);
  await old.end();
  await untilRegistered(kubelet, 1, [first]);
  expect(await kubelet.prepare([claim])).toMatchObject({ [claim.uid]: { error: "" } });
  await kubelet.unprepare([claim]);
  expect(await namesIn(node.directories.cdi)).toEqual([]);
});

test("rule 4: the driver retries on new sockets when the kubelet refuses it, and counts the failures", async () => {
  const node = await startNode();
  const seen: string[] = [];
  const kubelet = await node.startKubelet({
    onInfo: ({ endpoint }) => {
      seen.push(endpoint);
      if (seen.length < 3) throw new Error("Not now");
    },
  });
  const { registry, lines } = node.startDriver();
  await untilRegistered(kubelet);
  expect(new Set(seen).size).toBe(3);
  expect(lines).toContain("Registration failed: The kubelet refuses the driver: Error: Not now");
  const metrics = await registry.metrics();
  expect(metrics).toContain('bitfusion_driver_registrations_total{result="failed"} 2');
  expect(metrics).toContain('bitfusion_driver_registrations_total{result="registered"} 1');
});

test("rule 4: if the kubelet supports no drivers, only a driver with ALLOCATION=claims is not ready", async () => {
  const node = await startNode();
  await node.startKubelet({
    onInfo: () => {
      throw new Error("no handler registered");
    },
  });
  const drivers = [node.startDriver({ allocation: "units" }), node.startDriver()];
  await until(async () => drivers.every(({ lines }) => lines.some((line) => line.startsWith("Registration failed"))));
  expect(drivers.map(({ notReady }) => notReady())).toEqual([undefined, "Driver not registered with the kubelet"]);
});

test("rule 5: each claim has its own result, and an error does not affect the others", async () => {
  const { kubelet, ...node } = await startNodeWithDriver();
  const good = node.addClaim("good");
  const other = { ...node.addClaim("other"), uid: "another" };
  const unallocated = node.addClaim("unallocated");
  node.objects.set(`${CLAIMS}/unallocated`, { metadata: { uid: unallocated.uid } });
  const gone = { namespace: "team", name: "gone", uid: "gone-1" };
  const outside = { ...good, uid: "../x" };
  const results = await kubelet.prepare([good, other, unallocated, gone, outside]);
  expect(Object.values(results).map(({ error }) => error)).toEqual([
    "",
    expect.stringMatching(/^Claim team\/other: metadata.uid is ".*": expected "another"$/),
    "Claim team/unallocated: status.allocation is not set: expected an allocation by the scheduler",
    'Claim team/gone: it does not exist: expected a claim with uid "gone-1"',
    expect.stringContaining('expected "../x"'),
  ]);
  expect(await namesIn(node.directories.cdi)).toEqual(fileNames(good));
  expect(Object.values(await kubelet.unprepare([good, outside])).map(({ error }) => error)).toEqual([
    "",
    'Cannot use the uid "../x": expected letters, digits and dashes',
  ]);
});

test("the driver prepares no claim that the units of its pod do not cover, whoever made the claim", async () => {
  const { directories, store, kubelet, addClaim } = await startNodeWithDriver();
  const claim = addClaim("train");
  const path = "/api/v1/namespaces/team/pods/pod-of-train";
  const pod = store.get<{ spec: object }>(path);
  store.put(path, {
    ...pod,
    spec: { ...pod?.spec, containers: [{ resources: { limits: { "bitfusion.io/gpu": "10" } } }] },
  });
  const results = await kubelet.prepare([claim]);
  expect(results[claim.uid]?.error).toBe(
    "Claim team/train: the claims of pod pod-of-train have 60 units of the pool, but it requests 10 units of bitfusion.io/gpu",
  );
  expect(await namesIn(directories.cdi)).toEqual([]);
});

test("rule 6: preparing a claim twice leaves one file, also concurrently and while the API server is down", async () => {
  const { kubelet, driver, ...node } = await startNodeWithDriver();
  const claim = node.addClaim("train", [{ shareID: "s-1" }]);
  const [first, second] = await Promise.all([kubelet.prepare([claim]), kubelet.prepare([claim])]);
  expect(second).toEqual(first);
  node.control.onRequest = unavailable;
  expect(await kubelet.prepare([claim])).toEqual(first);
  expect(driver.lines.at(-2)).toMatch(
    /^Cannot read a claim from the API server: it stays as it was prepared: .* answered 503: etcd is down$/,
  );
  expect(await namesIn(node.directories.cdi)).toEqual(fileNames(claim));
});

test("rule 6: while the API server is down, only claims that are already prepared succeed", async () => {
  const { kubelet, ...node } = await startNodeWithDriver();
  const claim = node.addClaim("train");
  const namesake = { ...claim, name: "namesake" };
  await kubelet.prepare([claim]);
  await writeFile(join(node.directories.cdi, "bitfusion.io-claim_broken-1.json"), "{}");
  node.control.onRequest = unavailable;
  const broken = { namespace: "team", name: "broken", uid: "broken-1" };
  const results = await kubelet.prepare([namesake, node.addClaim("new"), broken]);
  for (const { error } of Object.values(results)) expect(error).toMatch(/cannot read it from the API server: .* 503/);
});

test("rule 6: a reallocated claim gets leases on its new devices, and the old ones end", async () => {
  const { kubelet, ...node } = await startNodeWithDriver();
  const claim = node.addClaim("train");
  await kubelet.prepare([claim]);
  node.addClaim("train", [{ device: GPU_B, consumedCapacity: { units: "10" } }], claim.uid);
  await kubelet.prepare([claim]);
  expect(leasesOf(...node.pool)).toEqual(["team/train/: server/1 at 10"]);
  expect(await proofsFor(node.directories.cdi, claim)).toEqual(proofsOf(...node.pool));
  expect(await namesIn(node.directories.cdi)).toEqual(fileNames(claim));
});

test("rule 7: unpreparing an unknown, deleted or unprepared claim succeeds without the API server", async () => {
  const { kubelet, ...node } = await startNodeWithDriver();
  const claim = node.addClaim("train");
  await kubelet.prepare([claim]);
  await until(async () => node.store.get<ResourceClaim>(`${CLAIMS}/train`)?.status?.devices !== undefined);
  node.objects.clear();
  node.control.onRequest = unavailable;
  const unknown = { namespace: "team", name: "unknown", uid: "unknown-1" };
  const requests = node.requests.length;
  for (let call = 0; call < 2; call++) {
    const results = await kubelet.unprepare([claim, unknown]);
    expect(Object.values(results).map(({ error }) => error)).toEqual(["", ""]);
  }
  expect(node.requests).toHaveLength(requests);
  expect(await namesIn(node.directories.cdi)).toEqual([]);
});

test("rule 8: calls for one claim run one after another, and calls for other claims do not wait", async () => {
  const { kubelet, ...node } = await startNodeWithDriver();
  const [slow, fast] = [node.addClaim("slow", [{ device: GPU_B }]), node.addClaim("fast")];
  const requested = Promise.withResolvers<void>();
  const response = Promise.withResolvers<undefined>();
  node.control.onRequest = ({ url }) => {
    if (!url.endsWith("/slow")) return undefined;
    requested.resolve();
    return response.promise;
  };
  const preparing = kubelet.prepare([slow]);
  await requested.promise;
  const unpreparing = kubelet.unprepare([slow]);
  await kubelet.prepare([fast]);
  expect(await namesIn(node.directories.cdi)).toEqual(fileNames(fast));
  response.resolve(undefined);
  await Promise.all([preparing, unpreparing]);
  expect(await namesIn(node.directories.cdi)).toEqual(fileNames(fast));
});

test("rule 8: a call leaves no file if the kubelet cancels it, or dies before it returns", async () => {
  const { kubelet, plugins: before, ...node } = await startNodeWithDriver();
  const claim = node.addClaim("train");
  let requested = Promise.withResolvers<void>();
  const response = Promise.withResolvers<undefined>();
  node.control.onRequest = () => {
    requested.resolve();
    return response.promise;
  };
  const stop = new AbortController();
  const canceled = kubelet.prepare([claim], stop.signal).catch(String);
  await requested.promise;
  stop.abort();
  expect(await canceled).toContain("aborted");
  requested = Promise.withResolvers();
  const cut = kubelet.prepare([claim]).catch(String);
  await requested.promise;
  await kubelet[Symbol.asyncDispose]();
  await cut;
  response.resolve(undefined);
  delete node.control.onRequest;
  node.objects.clear();
  const restarted = await node.startKubelet();
  expect(await untilRegistered(restarted)).toEqual(before);
  // Calls for one claim run one after another: both earlier calls have ended when this one returns.
  expect(await restarted.prepare([claim])).toMatchObject({
    [claim.uid]: { error: expect.stringContaining("does not exist") },
  });
  expect(await namesIn(node.directories.cdi)).toEqual([]);
});

test("rule 9: on startup, files of deleted, replaced and deallocated claims are removed, each with one log line", async () => {
  const node = await startNode();
  const [held, replaced, freed] = [node.addClaim("held"), node.addClaim("replaced"), node.addClaim("freed")];
  const gone = { namespace: "team", name: "gone", uid: "gone-1" };
  await leaveFiles(node.directories, held, replaced, freed, gone);
  node.addClaim("replaced");
  node.objects.set(`${CLAIMS}/freed`, { metadata: { uid: freed.uid } });
  const unfinished = join(node.directories.cdi, `${fileNames(gone)}.0a0b0c0d.tmp`);
  const foreign = join(node.directories.cdi, "nvidia.com-gpu.json");
  for (const path of [unfinished, foreign]) await writeFile(path, "");
  const { lines, registry } = node.startDriver();
  await untilNamesIn(node.directories.cdi, [...fileNames(held), basename(foreign)]);
  await until(async () => lines.filter((line) => line.startsWith("Removed")).length === 3);
  expect(lines.filter((line) => line.startsWith("Removed")).sort()).toEqual([
    'Removed the file of a claim: it does not exist: expected a claim with uid "gone-1"',
    expect.stringMatching(/^Removed the file of a claim: metadata.uid is ".*": expected ".*"$/),
    "Removed the file of a claim: status.allocation is not set: expected an allocation by the scheduler",
  ]);
  expect(await registry.metrics()).toContain("bitfusion_driver_prepared_claims 1");
});

test.each<[string, () => MaybeResponse]>([
  ["returns an error", unavailable],
  ["forbids the request", () => Response.json({ message: "forbidden" }, { status: 403 })],
  ["does not support claims", () => Response.json({ reason: "NotFound", details: {} }, { status: 404 })],
])("rule 9: while the API server %s, files stay until it recovers, and this is logged once", async (_, failure) => {
  const node = await startNode();
  const gone = { namespace: "team", name: "gone", uid: "gone-1" };
  await leaveFiles(node.directories, gone);
  node.control.onRequest = failure;
  const { lines } = node.startDriver();
  const logged = () => lines.filter((line) => line.startsWith("Cannot find out"));
  await until(async () => logged().length > 0);
  const { length } = node.requests;
  await until(async () => node.requests.length > length + 1);
  expect(await namesIn(node.directories.cdi)).toEqual(fileNames(gone));
  expect(logged()).toHaveLength(1);
  delete node.control.onRequest;
  await untilNamesIn(node.directories.cdi, []);
});

test("rule 9: a file that cannot be read stays, and does not delay the others", async () => {
  const node = await startNode();
  const gone = { namespace: "team", name: "gone", uid: "gone-1" };
  await leaveFiles(node.directories, gone);
  await writeFile(join(node.directories.cdi, "bitfusion.io-claim_newer-1.json"), "{}");
  await writeFile(join(node.directories.driver, "claims/newer-2.json"), "{}");
  const { lines } = node.startDriver();
  await untilNamesIn(node.directories.cdi, ["bitfusion.io-claim_newer-1.json"]);
  for (const message of ["Cannot restore the record of a claim", "Cannot read the record of a claim: it stays"]) {
    expect(lines).toContainEqual(expect.stringMatching(new RegExp(`^${message}: .*(is not set|expected)`)));
  }
});

test("rule 10: the driver deregisters when it ends, even during a call, and leaves no files and no folder", async () => {
  const { kubelet, driver, ...node } = await startNodeWithDriver();
  const requested = Promise.withResolvers<void>();
  node.control.onRequest = () => {
    requested.resolve();
    return new Promise<never>(() => {});
  };
  const cut = kubelet.prepare([node.addClaim("train")]).catch(String);
  await requested.promise;
  const ended = driver.end();
  await untilRegistered(kubelet, 0);
  await cut;
  await ended;
  expect(await namesIn(dirname(node.directories.driver))).toEqual(["cdi", "registry"]); // which are not the driver's
  for (const directory of [node.directories.registry, node.directories.cdi])
    expect(await namesIn(directory)).toEqual([]);
});

test("rule 10: a driver that ends leaves the files of prepared claims, which the next one removes with its folder", async () => {
  const { kubelet, driver, plugins, ...node } = await startNodeWithDriver();
  const claim = node.addClaim("train");
  await kubelet.prepare([claim]);
  const records = join(node.directories.driver, "claims");
  const before = await namesIn(records);
  await driver.end();
  expect(await namesIn(node.directories.driver)).toEqual(["claims"]);
  expect(await namesIn(records)).toEqual(before);
  expect(await namesIn(node.directories.cdi)).toEqual(fileNames(claim));
  const next = node.startDriver();
  await untilRegistered(kubelet, 1, plugins);
  await kubelet.unprepare([claim]);
  await next.end();
  expect(await namesIn(dirname(node.directories.driver))).toEqual(["cdi", "registry"]);
  expect(next.lines.filter((line) => line.includes("Cannot remove"))).toEqual([]);
});

test("the driver removes the sockets of killed instances, but not those of a live one", async () => {
  const { kubelet, plugins, ...node } = await startNodeWithDriver();
  for (const [directory, name] of [
    [node.directories.registry, "bitfusion.io-dead.sock"],
    [node.directories.driver, "dra-dead.sock"],
  ] as const) {
    const listen = `require("node:net").createServer().listen(${JSON.stringify(join(directory, name))}, () => process.kill(process.pid, "SIGKILL"))`;
    await Bun.spawn([process.execPath, "-e", listen]).exited;
    expect(await namesIn(directory)).toContain(name);
  }
  node.startDriver();
  expect((await untilRegistered(kubelet, 2)).slice(0, 1)).toEqual([...plugins]);
  expect(await namesIn(node.directories.registry)).toHaveLength(2);
  expect(await namesIn(node.directories.driver)).toHaveLength(2);
});

test("the metrics show the prepared claims and the duration of calls by result", async () => {
  const { kubelet, driver, ...node } = await startNodeWithDriver();
  const claims = [
    node.addClaim("a"),
    node.addClaim("b", [{ device: GPU_B }]),
    { namespace: "team", name: "gone", uid: "gone-1" },
  ];
  await kubelet.prepare(claims);
  await kubelet.unprepare(claims.slice(0, 1));
  const metrics = await driver.registry.metrics();
  for (const line of [
    "bitfusion_driver_prepared_claims 1",
    'bitfusion_driver_claim_duration_seconds_count{call="prepare",result="succeeded"} 2',
    'bitfusion_driver_claim_duration_seconds_count{call="prepare",result="failed"} 1',
    'bitfusion_driver_claim_duration_seconds_count{call="unprepare",result="succeeded"} 1',
    'bitfusion_driver_registrations_total{result="registered"} 1',
  ]) {
    expect(metrics).toContain(line);
  }
});

test("a claim gets its leases on all servers that have its GPUs, or none", async () => {
  const pool = [await startPool({ hostname: "a" }), await startPool({ hostname: "b" })] as const;
  const { kubelet, addClaim } = await startNodeWithDriver({ pool });
  const devices = ["a/0", "b/1", "a/1"].map(deviceName);
  const first = addClaim(
    "first",
    devices.slice(1).map((device) => ({ device })),
  );
  expect((await kubelet.prepare([first]))[first.uid]?.error).toBe("");
  expect(leasesOf(...pool)).toEqual(["team/first/: a/1 at 60", "team/first/: b/1 at 60"]);
  const second = addClaim(
    "second",
    devices.slice(0, 2).map((device) => ({ device })),
  );
  expect((await kubelet.prepare([second]))[second.uid]?.error).toBe(
    `Claim team/second: Pool server ${pool[1].address}: GPU b/1: 60 % of it is not free`,
  );
  expect(leasesOf(...pool)).toHaveLength(2);
  await kubelet.unprepare([first]);
  expect((await kubelet.prepare([second]))[second.uid]?.error).toBe("");
  expect(leasesOf(...pool)).toEqual(["team/second/: a/0 at 60", "team/second/: b/1 at 60"]);
}, 20_000); // the driver asks for five seconds

test("the driver talks only to the servers of a claim's GPUs, as the slices tell them", async () => {
  const pool = [await startPool({ hostname: "a" }), await startPool({ hostname: "b" })] as const;
  const { kubelet, addClaim, store } = await startNodeWithDriver({ pool });
  await pool[0][Symbol.asyncDispose]();
  const claim = addClaim("train", [{ device: deviceName("b/1") }]);
  expect((await kubelet.prepare([claim]))[claim.uid]?.error).toBe("");
  expect(leasesOf(pool[1])).toEqual(["team/train/: b/1 at 60"]);

  const unpublished = addClaim("unpublished", [{ device: "gpu-gone" }]);
  expect((await kubelet.prepare([unpublished]))[unpublished.uid]?.error).toBe(
    "Claim team/unpublished: ResourceSlice pool has no device gpu-gone, which was allocated to the claim",
  );
  store.put(`${RESOURCE_SLICES}/foreign`, sliceOf("foreign", [{ address: "elsewhere:1", gpus: [{ id: "c/0" }] }]));
  const foreign = addClaim("foreign", [{ pool: "foreign", device: deviceName("c/0") }]);
  expect((await kubelet.prepare([foreign]))[foreign.uid]?.error).toBe(
    "Claim team/foreign: Pool server elsewhere:1, which has a GPU of the claim, is not configured",
  );
});

test("several shares of one GPU are one lease, and GPUs with equal units of a server, too", async () => {
  const { kubelet, addClaim, pool } = await startNodeWithDriver();
  const units = (units: string) => ({ consumedCapacity: { units } });
  const claim = addClaim("train", [
    { shareID: "s-1", ...units("30") },
    { shareID: "s-2", ...units("45") },
    { device: GPU_B, ...units("75") },
  ]);
  await kubelet.prepare([claim]);
  expect(leasesOf(...pool)).toEqual(["team/train/: server/0 at 75, server/1 at 75"]);
});

test("the error names the server that cannot be reached, and the claim is prepared once it can be", async () => {
  const { kubelet, addClaim, pool } = await startNodeWithDriver();
  const [server] = pool;
  const claim = addClaim("train");
  await server[Symbol.asyncDispose]();
  const error = (await kubelet.prepare([claim]))[claim.uid]?.error;
  expect(error).toStartWith(`Claim team/train: Pool server ${server.address}: `);
  const restarted = await startPool({ port: server.port });
  expect((await kubelet.prepare([claim]))[claim.uid]?.error).toBe("");
  expect(leasesOf(restarted)).toEqual(["team/train/: server/0 at 60"]);
});

test("a claim whose lease was granted without an answer gets the same lease", async () => {
  const server = await startPool({ lostAnswers: 1 });
  const { kubelet, addClaim } = await startNodeWithDriver({ pool: [server] });
  const claim = addClaim("train");
  expect((await kubelet.prepare([claim]))[claim.uid]?.error).toContain("The answer was lost");
  expect((await kubelet.prepare([claim]))[claim.uid]?.error).toBe("");
  expect(leasesOf(server)).toHaveLength(1);
});

test("another node gets a lease of its own, and a late Unprepare ends only that of its node", async () => {
  const pool = [await startPool()];
  const [first, second] = [await startNode({ pool }), await startNode({ pool })];
  const kubelets: SimulatedDraKubelet[] = [];
  for (const [node, name] of [
    [first, "node-1"],
    [second, "node-2"],
  ] as const) {
    const kubelet = await node.startKubelet();
    node.startDriver({ node: name });
    await untilRegistered(kubelet);
    kubelets.push(kubelet);
  }
  const [here, there] = kubelets as [SimulatedDraKubelet, SimulatedDraKubelet];
  const claim = first.addClaim("train", [{ consumedCapacity: { units: "40" } }]);
  second.addClaim("train", [{ consumedCapacity: { units: "40" } }], claim.uid);
  await here.prepare([claim]);
  await there.prepare([claim]);
  expect(leasesOf(...pool)).toHaveLength(2);
  expect(await proofsFor(second.directories.cdi, claim)).toEqual(proofsOf(...pool).slice(1));
  await here.unprepare([claim]);
  expect(await proofsFor(second.directories.cdi, claim)).toEqual(proofsOf(...pool));
});

test("leases are renewed for longer than their time to live, also by the next instance", async () => {
  const server = await startPool({ timeToLive: 800 });
  const { kubelet, driver, plugins, ...node } = await startNodeWithDriver({ pool: [server] });
  const claim = node.addClaim("train");
  await kubelet.prepare([claim]);
  const [{ id, expiresAt } = { id: "", expiresAt: 0 }] = server.ledger.leases();
  const untilRenewedAfter = (time: number) =>
    until(async () => {
      server.ledger.expire();
      expect(server.ledger.leases().map((lease) => lease.id)).toEqual([id]);
      return (server.ledger.get(id)?.expiresAt ?? 0) > time;
    });
  await untilRenewedAfter(expiresAt + 800);
  await driver.end();
  node.startDriver();
  await untilRegistered(kubelet, 1, plugins);
  await untilRenewedAfter(server.ledger.now() + 1600);
});

test("the leases on a server are renewed in one call per period, however many claims have them", async () => {
  const [timeToLive, period] = [1600, 400];
  const calls: number[][] = [[], []];
  const server = (hostname: string, sizes: number[]) =>
    startPool({ hostname, gpus: 5, timeToLive, onRenew: ({ leases }) => void sizes.push(leases.length) });
  const pool = await Promise.all(calls.map((sizes, index) => server(`s${index}`, sizes)));
  const { kubelet, addClaim } = await startNodeWithDriver({ pool });
  const gpus = [0, 1, 2, 3, 4];
  const claims = gpus.map((gpu) =>
    addClaim(
      `c${gpu}`,
      [0, 1].map((at) => ({ device: deviceName(`s${at}/${gpu}`) })),
    ),
  );
  await kubelet.prepare(claims);
  expect(leasesOf(...pool)).toHaveLength(10);
  for (const sizes of calls) sizes.length = 0;
  const start = performance.now();
  await until(async () => calls.every((sizes) => sizes.length >= 4));
  const periods = (performance.now() - start) / (period * 0.75); // at most
  for (const sizes of calls) {
    expect(sizes.length).toBeLessThanOrEqual(periods + 1);
    expect(new Set(sizes)).toEqual(new Set([5]));
  }
});

test("a server that does not answer delays the renewals of no other one", async () => {
  const timeToLive = 1200;
  const stuck = await startPool({ hostname: "a", timeToLive, onRenew: () => new Promise(() => {}) });
  const server = await startPool({ hostname: "b", timeToLive });
  const { kubelet, addClaim } = await startNodeWithDriver({ pool: [stuck, server] });
  await kubelet.prepare([addClaim("train", [{ device: deviceName("a/0") }, { device: deviceName("b/0") }])]);
  const [{ id } = { id: "" }] = server.ledger.leases();
  const end = server.ledger.now() + 2 * timeToLive;
  await until(async () => {
    server.ledger.expire();
    expect(leasesOf(server)).toHaveLength(1);
    return server.ledger.now() > end;
  });
  expect(server.ledger.leases().map((lease) => lease.id)).toEqual([id]);
  stuck.ledger.expire();
  expect(leasesOf(stuck)).toEqual([]);
});

test("a restarted server is told the leases that it has lost, and containers get what proves them now", async () => {
  const server = await startPool({ timeToLive: 2000 });
  const { kubelet, driver, ...node } = await startNodeWithDriver({ pool: [server] });
  const claim = node.addClaim("train");
  await kubelet.prepare([claim]);
  const before = await proofsFor(node.directories.cdi, claim);
  await server[Symbol.asyncDispose]();
  const restarted = await startPool({ port: server.port, timeToLive: 2000 });
  await until(async () => Bun.deepEquals(await proofsFor(node.directories.cdi, claim), proofsOf(restarted)));
  expect(leasesOf(restarted)).toEqual(["team/train/: server/0 at 60"]);
  expect(await proofsFor(node.directories.cdi, claim)).not.toEqual(before);
  expect(driver.lines).toContain("A lease had ended on its pool server, and was granted again: undefined");
});

test("a lease tells what it is for", async () => {
  const { kubelet, pool, ...node } = await startNodeWithDriver();
  const claim = node.addClaim("train", [{ shareID: "s-1" }, { device: GPU_B, shareID: "s-2" }]);
  await kubelet.prepare([claim]);
  expect(pool[0].ledger.leases().map(({ resourceClaim }) => resourceClaim)).toEqual([
    { ...claim, node: "node-1", shareIds: ["s-1", "s-2"] },
  ]);
});

test("leases are renewed while the API server does not answer, for as long as API_OUTAGE_TIME, and taken again when it does", async () => {
  const server = await startPool({ timeToLive: 800 });
  const node = await startNode({ pool: [server] });
  const kubelet = await node.startKubelet();
  const { lines } = node.startDriver({ outageTime: 1000 });
  await untilRegistered(kubelet);
  const claim = node.addClaim("train");
  await kubelet.prepare([claim]);
  const [{ id } = { id: "" }] = server.ledger.leases();
  const untilEnded = once(server.ledger.untilEnded(id) as AbortSignal, "abort");
  const expiring = setInterval(() => server.ledger.expire(), 10);
  cleanups.push(() => clearInterval(expiring));
  const cutAt = performance.now();
  node.control.onRequest = unavailable;
  await untilEnded;
  expect(performance.now() - cutAt).toBeGreaterThan(750); // a sweep had confirmed the claim at most 250 ms before
  expect(lines).toContain(
    "Cannot keep the leases of a claim: the API server has not answered about the claim within API_OUTAGE_TIME: its leases are not renewed until it does",
  );
  delete node.control.onRequest;
  await until(async () => leasesOf(server).length === 1);
  await until(async () => Bun.deepEquals(await proofsFor(node.directories.cdi, claim), proofsOf(server)));
});

test.each([
  ["is gone", []],
  ["was allocated elsewhere", [{ device: GPU_B }]],
] as const)("a lease that has ended is not taken again if its claim %s", async (_, results) => {
  const server = await startPool({ timeToLive: 2000 });
  const { kubelet, driver, ...node } = await startNodeWithDriver({ pool: [server] });
  const claim = node.addClaim("train");
  await kubelet.prepare([claim]);
  if (results.length === 0) node.objects.delete(`${CLAIMS}/train`);
  else node.addClaim("train", [...results], claim.uid);
  for (const { id } of server.ledger.leases()) server.ledger.release(id);
  await until(async () => driver.lines.some((line) => line.startsWith("Cannot keep the leases of a claim: ")));
  expect(leasesOf(server)).toEqual([]);
});

test("a lease that has ended is taken again only once the API server has answered", async () => {
  const server = await startPool({ timeToLive: 2000 });
  const { kubelet, driver, ...node } = await startNodeWithDriver({ pool: [server] });
  const claim = node.addClaim("train");
  await kubelet.prepare([claim]);
  node.control.onRequest = unavailable;
  for (const { id } of server.ledger.leases()) server.ledger.release(id);
  await until(async () => driver.lines.some((line) => line.includes("etcd is down")));
  expect(leasesOf(server)).toEqual([]);
  delete node.control.onRequest;
  await until(async () => leasesOf(server).length === 1);
});

test("an emptied CDI directory, and lost records, are restored with the same leases while the kubelet runs", async () => {
  const server = await startPool({ timeToLive: 2000 });
  const { kubelet, ...node } = await startNodeWithDriver({ pool: [server] });
  const claim = node.addClaim("train");
  await kubelet.prepare([claim]);
  const proofs = proofsOf(server);
  const [cdiFile = ""] = fileNames(claim);
  await rm(join(node.directories.cdi, cdiFile));
  await untilNamesIn(node.directories.cdi, [cdiFile]);
  await rm(join(node.directories.driver, "claims"), { recursive: true });
  await until(async () => Bun.deepEquals(await proofsFor(node.directories.cdi, claim).catch(() => {}), proofs));
  expect(proofsOf(server)).toEqual(proofs);
});

test("after a restart of the node, CDI files are back before the kubelet finds the driver, without API server and token", async () => {
  const node = await startNode();
  const claims = [node.addClaim("train"), node.addClaim("eval")];
  await leaveFiles(node.directories, ...claims);
  for (const name of fileNames(...claims)) await rm(join(node.directories.cdi, name));
  node.control.onRequest = unavailable;
  const kubelet = await node.startKubelet({
    async onInfo() {
      expect(await namesIn(node.directories.cdi)).toEqual(fileNames(...claims));
    },
  });
  node.startDriver({ token: createLatest<Token>() });
  await untilRegistered(kubelet);
});

test("the driver ends when its CDI folder was deleted on the node, so that its restart mounts the new one", async () => {
  const node = await startNode();
  const folder = openSync(node.directories.cdi, "r"); // keeps the deleted folder accessible, as a mount does
  cleanups.push(() => closeSync(folder));
  const { ended } = node.startDriver({ cdiDirectory: `/proc/self/fd/${folder}` });
  await rm(node.directories.cdi, { recursive: true });
  expect(await ended.catch(String)).toContain("was deleted on the node");
});

test("the CDI file of a claim that is gone is removed, though its record is lost", async () => {
  const node = await startNode();
  const gone = { namespace: "team", name: "gone", uid: "gone-1" };
  await leaveFiles(node.directories, gone);
  await rm(join(node.directories.driver, "claims"), { recursive: true });
  node.startDriver();
  await untilNamesIn(node.directories.cdi, []);
});

test("leases of claims that are gone are released by the next instance", async () => {
  const { kubelet, driver, ...node } = await startNodeWithDriver();
  const claim = node.addClaim("train");
  await kubelet.prepare([claim]);
  await driver.end();
  node.objects.delete(`${CLAIMS}/train`);
  node.startDriver();
  await until(async () => leasesOf(...node.pool).length === 0);
  await untilNamesIn(node.directories.cdi, []);
});

/** Waits until the kubelet is told of devices for which the lines `device: health: message` begin like this. */
async function untilHealth(kubelet: SimulatedDraKubelet, expected: string[], version: "v1" | "v1alpha1" = "v1") {
  const stop = new AbortController();
  const signal = AbortSignal.any([stop.signal, AbortSignal.timeout(4500)]);
  let lines: string[] = [];
  try {
    for await (const { devices } of kubelet.watchHealth(version, signal)) {
      const healths = ["unknown", "healthy", "unhealthy"];
      lines = devices
        .map(({ device, health, message }) => `${device?.deviceName}: ${healths[health]}: ${message}`)
        .sort();
      const wanted = expected.toSorted();
      if (lines.length === wanted.length && lines.every((line, at) => line.startsWith(wanted[at] ?? ""))) return;
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    stop.abort();
  }
  expect(lines).toEqual(expected);
}

test.each(["v1", "v1alpha1"] as const)(
  "rule 11: the kubelet is told the health of each GPU of prepared claims, and why it is not healthy (%s)",
  async (version) => {
    const server = await startPool({ timeToLive: 800 });
    const { kubelet, addClaim } = await startNodeWithDriver({ pool: [server] });
    const claim = addClaim("train", [{}, { device: GPU_B }]);
    const results = await kubelet.prepare([claim]);
    const ids = results[claim.uid]?.devices.flatMap(({ cdiDeviceIds }) => cdiDeviceIds);
    expect(ids).toEqual([GPU_A, GPU_B].map((device) => `bitfusion.io/claim=${claim.uid}_${device}`));
    const healthy = (device: string, gpu: string) =>
      `${device}: healthy: GPU ${gpu} of pool server ${server.address} is healthy`;
    const bothHealthy = [healthy(GPU_A, "server/0"), healthy(GPU_B, "server/1")];
    await untilHealth(kubelet, bothHealthy, version);
    const [first, ...others] = server.gpus as [RunningPoolServer["gpus"][number]];
    server.setGpus([{ ...first, healthy: false, problem: "xid-79" }, ...others]);
    const reported = `${GPU_A}: unhealthy: Pool server ${server.address} reports GPU server/0 as unhealthy: xid-79`;
    await untilHealth(kubelet, [reported, healthy(GPU_B, "server/1")], version);
    server.setGpus([first, ...others]);
    await untilHealth(kubelet, bothHealthy, version);
    await kubelet.unprepare([claim]);
    await untilHealth(kubelet, [], version);
  },
);

test("rule 11: the GPUs of a server that does not answer are not healthy until it answers again", async () => {
  const server = await startPool({ timeToLive: 2000 });
  const { kubelet, ...node } = await startNodeWithDriver({ pool: [server] });
  await kubelet.prepare([node.addClaim("train")]);
  await server[Symbol.asyncDispose]();
  await untilHealth(kubelet, [
    `${GPU_A}: unhealthy: Cannot renew the lease on GPU server/0: Pool server ${server.address}: `,
  ]);
  await startPool({ port: server.port, timeToLive: 2000 });
  await untilHealth(kubelet, [`${GPU_A}: healthy: `]);
});

test("rule 11: a driver that was restarted tells the health of the claims that it finds", async () => {
  const { kubelet, driver, plugins, ...node } = await startNodeWithDriver();
  await kubelet.prepare([node.addClaim("train")]);
  await driver.end();
  node.startDriver();
  await untilRegistered(kubelet, 1, plugins);
  await untilHealth(kubelet, [`${GPU_A}: healthy: `]);
});

test("the status of a claim tells the state of its lease", async () => {
  const { kubelet, pool, ...node } = await startNodeWithDriver();
  const claim = node.addClaim("train", [{ shareID: "s-1" }]);
  await kubelet.prepare([claim]);
  const status = () => node.store.get<ResourceClaim>(`${CLAIMS}/train`)?.status;
  await until(async () => status()?.devices !== undefined);
  const time = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
  const message = `GPU server/0 of pool server ${pool[0].address} is healthy`;
  expect(status()?.devices).toEqual([
    {
      driver: "bitfusion.io",
      pool: "pool",
      device: GPU_A,
      shareID: "s-1",
      conditions: [{ type: "Ready", status: "True", reason: "LeaseHeld", message, lastTransitionTime: time }],
      data: { node: "node-1", server: pool[0].address, gpu: "server/0", since: time, lastRenewal: time },
    },
  ]);
  expect(status()?.allocation).toBeDefined();
});
