import { afterEach, expect, test } from "bun:test";
import { mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import type { V1DeviceRequestAllocationResult } from "@kubernetes/client-node";
import { Registry } from "prom-client";
import { connectWith, kubeconfigOf, startSimulatedApiServer } from "../../kubernetes/simulated/api_server.ts";
import {
  type SimulatedDraKubelet,
  type SimulatedDraKubeletOptions,
  startSimulatedDraKubelet,
} from "../../kubernetes/simulated/dra_kubelet.ts";
import { createObjectStore } from "../../kubernetes/simulated/objects.ts";
import { recordingLog } from "../../program/testing.ts";
import type { PluginInfo } from "../../proto/gen/pluginregistration/v1/api_pb.ts";
import { cdiSpecOf } from "./cdi.ts";
import type { ClaimId } from "./claim.ts";
import { createDriver } from "./driver.ts";

/*
 * What the kubelet asks of a driver, from its source (pkg/kubelet/pluginmanager, pkg/kubelet/cm/dra). Tests name the rule.
 *
 *  1 A socket in the registry tells type, name, endpoint and services; the kubelet says what became of it.
 *  2 A restarted kubelet comes again to the sockets that it finds, and has the claims prepared again of pods that it starts again.
 *  3 A socket that is gone from the registry is a driver that is gone.
 *  4 An endpoint is registered once. Several instances are registered at once; calls go to the one that came last.
 *  5 Each claim of a call has an answer, and an error of its own: an error of the call is one of all its claims.
 *  6 A claim is prepared any number of times.
 *  7 A claim is unprepared any number of times, also one that was never prepared, or is gone.
 *  8 A call that the kubelet gives up is as one that was never made: what comes next may go to another instance.
 *  9 A kubelet that has forgotten a claim never unprepares it.
 * 10 At the end the registration goes first.
 */

const CLAIMS = "/apis/resource.k8s.io/v1/namespaces/team/resourceclaims";
const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

type Answer = Response | undefined | Promise<Response | undefined>;

/** A node's directories, and an API server that can be told to fail. */
async function startNode() {
  const root = await mkdtemp(join(tmpdir(), "node-"));
  cleanups.push(() => rm(root, { recursive: true, force: true }));
  const store = createObjectStore();
  const control: { onRequest?: (request: Request) => Answer } = {};
  const api = startSimulatedApiServer({
    onRequest: async (request) => (await control.onRequest?.(request)) ?? store.answer(request),
  });
  cleanups.push(() => api[Symbol.asyncDispose]());
  const { request } = await connectWith(kubeconfigOf(api.url));
  const directories = { registry: join(root, "registry"), driver: join(root, "driver"), cdi: join(root, "cdi") };
  await mkdir(directories.cdi);

  /** A claim that the scheduler has given 60 percent of a GPU, if nothing else is said. */
  function addClaim(
    name: string,
    results: Partial<V1DeviceRequestAllocationResult>[] = [{}],
    uid: string = crypto.randomUUID(),
  ): ClaimId {
    const share = { request: "gpu", driver: "bitfusion.io", pool: "pool", device: "gpu-aaaaaaaa" };
    const allocated = results.map((result) => ({ ...share, consumedCapacity: { units: "60" }, ...result }));
    const object = { metadata: { uid }, status: { allocation: { devices: { results: allocated } } } };
    store.objects.set(`${CLAIMS}/${name}`, object);
    return { namespace: "team", name, uid };
  }

  /** An instance of the driver, until the end of the test. */
  function startDriver({ allocation }: { allocation?: "claims" } = {}) {
    const registry = new Registry();
    const lines: string[] = [];
    const driver = createDriver({
      settings: {
        pluginsRegistryDirectory: directories.registry,
        driverDirectory: directories.driver,
        cdiDirectory: directories.cdi,
        ...(allocation ? { allocation } : {}),
      },
      request,
      registry,
      log: recordingLog(lines),
    });
    const stop = new AbortController();
    const ended = driver.run(stop.signal);
    const end = () => {
      stop.abort();
      return ended;
    };
    cleanups.push(end);
    return { ...driver, registry, lines, end };
  }

  async function startKubelet(options: Omit<SimulatedDraKubeletOptions, "directory"> = {}) {
    const kubelet = await startSimulatedDraKubelet({ directory: directories.registry, ...options });
    cleanups.push(() => kubelet[Symbol.asyncDispose]());
    return kubelet;
  }

  return { directories, objects: store.objects, control, requests: api.requests, addClaim, startDriver, startKubelet };
}

/** A node with one instance of the driver that its kubelet knows. */
async function startRegistered() {
  const node = await startNode();
  const kubelet = await node.startKubelet();
  const driver = node.startDriver();
  const plugins = await registered(kubelet);
  return { ...node, kubelet, driver, plugins };
}

/** Waits until so many instances are registered, of which none is among `others`. */
async function registered(
  { plugins }: SimulatedDraKubelet,
  count = 1,
  others: readonly PluginInfo[] = [],
): Promise<readonly PluginInfo[]> {
  for await (const all of plugins.changes(AbortSignal.timeout(4500))) {
    if (all.length === count && !all.some(({ endpoint }) => others.some((other) => other.endpoint === endpoint))) {
      return all;
    }
  }
  throw new Error(`Never ${count} registered: ${plugins.current?.map(({ endpoint }) => endpoint)}`);
}

/** The names of the claims' files and whatever else is there. */
function filesOf(...claims: ClaimId[]): string[] {
  return claims.map(({ uid }) => `bitfusion.io-claim_${uid}.json`).sort();
}

async function namesIn(directory: string): Promise<string[]> {
  return (await readdir(directory)).sort();
}

/** What containers of this claim are told. */
async function environmentOf(directory: string, { uid }: ClaimId): Promise<string[]> {
  const spec = JSON.parse(await readFile(join(directory, `bitfusion.io-claim_${uid}.json`), "utf8"));
  return spec.devices[0].containerEdits.env;
}

/** Waits for what nothing tells of. */
async function until(condition: () => Promise<boolean>): Promise<void> {
  for (const deadline = AbortSignal.timeout(4500); !(await condition()); await Bun.sleep(5)) deadline.throwIfAborted();
}

/** Waits until the directory holds these, and nothing else. */
async function untilNamesIn(directory: string, names: readonly string[]): Promise<void> {
  await until(async () => Bun.deepEquals(await namesIn(directory), names));
}

/** Files as an instance has left them that is no more. */
async function leaveBehind(directory: string, ...claims: ClaimId[]): Promise<void> {
  for (const claim of claims) {
    const shares = [{ request: "gpu", pool: "pool", device: "gpu-aaaaaaaa", units: 60 }];
    await writeFile(join(directory, `bitfusion.io-claim_${claim.uid}.json`), cdiSpecOf({ ...claim, shares }));
  }
}

function unavailable(): Response {
  return Response.json({ message: "etcd is away" }, { status: 503 });
}

test("rule 1: it tells what it is, is ready once it is registered, and its endpoint answers", async () => {
  const node = await startNode();
  const kubelet = await node.startKubelet();
  const driver = node.startDriver();
  expect(driver.notReady()).toBe("Driver not registered with the kubelet");
  const [info] = await registered(kubelet);
  expect(info).toMatchObject({ type: "DRAPlugin", name: "bitfusion.io", supportedVersions: ["v1.DRAPlugin"] });
  expect(dirname(info?.endpoint ?? "")).toBe(node.directories.driver);
  expect(driver.notReady()).toBeUndefined();
  const claim = node.addClaim("train");
  expect(await kubelet.prepare([claim])).toMatchObject({
    [claim.uid]: {
      error: "",
      devices: [
        {
          requestNames: ["gpu"],
          poolName: "pool",
          deviceName: "gpu-aaaaaaaa",
          cdiDeviceIds: [`bitfusion.io/claim=${claim.uid}`],
        },
      ],
    },
  });
  expect(await environmentOf(node.directories.cdi, claim)).toEqual(["BITFUSION_DEVICES=gpu-aaaaaaaa=60"]);
});

test("rule 1: it waits for a kubelet that makes its registry later", async () => {
  const node = await startNode();
  const { lines } = node.startDriver();
  for (let turn = 0; turn < 50; turn++) await new Promise(setImmediate);
  await registered(await node.startKubelet());
  expect(lines).toEqual(["Registered: undefined"]);
});

test("rule 2: a restarted kubelet finds the same instance, and has its claims prepared again", async () => {
  const { kubelet, plugins: before, ...node } = await startRegistered();
  const claim = node.addClaim("train", [{ shareID: "s-1" }, { device: "gpu-bbbbbbbb", shareID: "s-2" }]);
  const first = await kubelet.prepare([claim]);
  await kubelet[Symbol.asyncDispose]();
  const restarted = await node.startKubelet();
  expect(await registered(restarted)).toEqual(before);
  expect(await restarted.prepare([claim])).toEqual(first);
  expect(await namesIn(node.directories.cdi)).toEqual(filesOf(claim));
});

test.each(["registry", "driver"] as const)(
  "rule 3: it serves anew when its socket in the %s directory is deleted",
  async (which) => {
    const { kubelet, driver, plugins: before, ...node } = await startRegistered();
    const directory = node.directories[which];
    const [socket = ""] = await namesIn(directory);
    await rm(join(directory, socket));
    await registered(kubelet, 1, before);
    expect(driver.notReady()).toBeUndefined();
    expect(await namesIn(directory)).toHaveLength(1);
  },
);

test.each(["registry", "driver"] as const)(
  "rule 3: it serves anew when its %s directory is replaced",
  async (which) => {
    const { kubelet, plugins: before, ...node } = await startRegistered();
    const directory = node.directories[which];
    await rename(directory, `${directory}.old`);
    await mkdir(directory);
    await registered(kubelet, 1, before);
  },
);

test("rule 4: of two instances that overlap the later is called, and claims of the one are the other's", async () => {
  const { kubelet, driver: old, plugins, ...node } = await startRegistered();
  const [first] = plugins as [PluginInfo];
  const claim = node.addClaim("train");
  await kubelet.prepare([claim]);
  node.startDriver();
  expect((await registered(kubelet, 2))[0]).toEqual(first);
  await old.end();
  await registered(kubelet, 1, [first]);
  expect(await kubelet.prepare([claim])).toMatchObject({ [claim.uid]: { error: "" } });
  await kubelet.unprepare([claim]);
  expect(await namesIn(node.directories.cdi)).toEqual([]);
});

test("rule 4: refused, it tries again on fresh sockets, and counts that", async () => {
  const node = await startNode();
  const seen: string[] = [];
  const kubelet = await node.startKubelet({
    onInfo: ({ endpoint }) => {
      seen.push(endpoint);
      if (seen.length < 3) throw new Error("Not now");
    },
  });
  const { registry, lines } = node.startDriver();
  await registered(kubelet);
  expect(new Set(seen).size).toBe(3);
  expect(lines).toContain("Registration failed: The kubelet refuses the driver: Error: Not now");
  const metrics = await registry.metrics();
  expect(metrics).toContain('bitfusion_driver_registrations_total{result="failed"} 2');
  expect(metrics).toContain('bitfusion_driver_registrations_total{result="registered"} 1');
});

test("rule 4: a kubelet that wants no drivers leaves only one unready that must be there", async () => {
  const node = await startNode();
  await node.startKubelet({
    onInfo: () => {
      throw new Error("no handler registered");
    },
  });
  const drivers = [node.startDriver(), node.startDriver({ allocation: "claims" })];
  await until(async () => drivers.every(({ lines }) => lines.some((line) => line.startsWith("Registration failed"))));
  expect(drivers.map(({ notReady }) => notReady())).toEqual([undefined, "Driver not registered with the kubelet"]);
});

test("rule 5: each claim has its answer, and the error of one is its own", async () => {
  const { kubelet, ...node } = await startRegistered();
  const good = node.addClaim("good");
  const other = { ...node.addClaim("other"), uid: "another" };
  const unallocated = node.addClaim("unallocated");
  node.objects.set(`${CLAIMS}/unallocated`, { metadata: { uid: unallocated.uid } });
  const gone = { namespace: "team", name: "gone", uid: "gone-1" };
  const outside = { ...good, uid: "../x" };
  const answers = await kubelet.prepare([good, other, unallocated, gone, outside]);
  expect(Object.values(answers).map(({ error }) => error)).toEqual([
    "",
    expect.stringMatching(/^Claim team\/other: metadata.uid is ".*": expected "another"$/),
    "Claim team/unallocated: status.allocation is not set: expected what the scheduler has allocated",
    'Claim team/gone: there is none: expected the one of uid "gone-1"',
    expect.stringContaining('expected "../x"'),
  ]);
  expect(await namesIn(node.directories.cdi)).toEqual(filesOf(good));
  expect(Object.values(await kubelet.unprepare([good, outside])).map(({ error }) => error)).toEqual([
    "",
    'Cannot use the uid "../x": expected letters, digits and dashes',
  ]);
});

test("rule 6: a claim that is prepared twice, also at once and with an API server that is away, has one file", async () => {
  const { kubelet, driver, ...node } = await startRegistered();
  const claim = node.addClaim("train", [{ shareID: "s-1" }]);
  const [first, second] = await Promise.all([kubelet.prepare([claim]), kubelet.prepare([claim])]);
  expect(second).toEqual(first);
  node.control.onRequest = unavailable;
  expect(await kubelet.prepare([claim])).toEqual(first);
  expect(driver.lines.at(-2)).toMatch(/^Claim left as it is prepared: .* answered 503: etcd is away$/);
  expect(await namesIn(node.directories.cdi)).toEqual(filesOf(claim));
});

test("rule 6: with an API server that is away, no claim is prepared that was not", async () => {
  const { kubelet, ...node } = await startRegistered();
  const claim = node.addClaim("train");
  const namesake = { ...claim, name: "namesake" };
  await kubelet.prepare([claim]);
  await writeFile(join(node.directories.cdi, "bitfusion.io-claim_broken-1.json"), "{}");
  node.control.onRequest = unavailable;
  const broken = { namespace: "team", name: "broken", uid: "broken-1" };
  const answers = await kubelet.prepare([namesake, node.addClaim("new"), broken]);
  for (const { error } of Object.values(answers)) expect(error).toMatch(/the API server does not tell it: .* 503/);
});

test("rule 6: a claim that is allocated anew has its new devices", async () => {
  const { kubelet, ...node } = await startRegistered();
  const claim = node.addClaim("train");
  await kubelet.prepare([claim]);
  node.addClaim("train", [{ device: "gpu-bbbbbbbb", consumedCapacity: { units: "10" } }], claim.uid);
  await kubelet.prepare([claim]);
  expect(await environmentOf(node.directories.cdi, claim)).toEqual(["BITFUSION_DEVICES=gpu-bbbbbbbb=10"]);
  expect(await namesIn(node.directories.cdi)).toEqual(filesOf(claim));
});

test("rule 7: to unprepare a claim that is unknown, gone, or unprepared already is fine, and asks nobody", async () => {
  const { kubelet, ...node } = await startRegistered();
  const claim = node.addClaim("train");
  await kubelet.prepare([claim]);
  node.objects.clear();
  node.control.onRequest = unavailable;
  const unknown = { namespace: "team", name: "unknown", uid: "unknown-1" };
  const asked = node.requests.length;
  for (let turn = 0; turn < 2; turn++) {
    const answers = await kubelet.unprepare([claim, unknown]);
    expect(Object.values(answers).map(({ error }) => error)).toEqual(["", ""]);
  }
  expect(node.requests).toHaveLength(asked);
  expect(await namesIn(node.directories.cdi)).toEqual([]);
});

test("rule 8: calls for one claim come one after the other, those for others do not wait", async () => {
  const { kubelet, ...node } = await startRegistered();
  const [slow, fast] = [node.addClaim("slow"), node.addClaim("fast")];
  const asked = Promise.withResolvers<void>();
  const told = Promise.withResolvers<undefined>();
  node.control.onRequest = ({ url }) => {
    if (!url.endsWith("/slow")) return undefined;
    asked.resolve();
    return told.promise;
  };
  const preparing = kubelet.prepare([slow]);
  await asked.promise;
  const unpreparing = kubelet.unprepare([slow]);
  await kubelet.prepare([fast]);
  expect(await namesIn(node.directories.cdi)).toEqual(filesOf(fast));
  told.resolve(undefined);
  await Promise.all([preparing, unpreparing]);
  expect(await namesIn(node.directories.cdi)).toEqual(filesOf(fast));
});

test("rule 8: a call that the kubelet gives up, or dies in, leaves no file", async () => {
  const { kubelet, plugins: before, ...node } = await startRegistered();
  const claim = node.addClaim("train");
  let asked = Promise.withResolvers<void>();
  const told = Promise.withResolvers<undefined>();
  node.control.onRequest = () => {
    asked.resolve();
    return told.promise;
  };
  const stop = new AbortController();
  const given = kubelet.prepare([claim], stop.signal).catch(String);
  await asked.promise;
  stop.abort();
  expect(await given).toContain("aborted");
  asked = Promise.withResolvers();
  const cut = kubelet.prepare([claim]).catch(String);
  await asked.promise;
  await kubelet[Symbol.asyncDispose]();
  await cut;
  told.resolve(undefined);
  delete node.control.onRequest;
  node.objects.clear();
  const restarted = await node.startKubelet();
  expect(await registered(restarted)).toEqual(before);
  // Its answer comes after the end of both calls.
  expect(await restarted.prepare([claim])).toMatchObject({ [claim.uid]: { error: expect.stringContaining("none") } });
  expect(await namesIn(node.directories.cdi)).toEqual([]);
});

test("rule 9: what is left of claims that are gone, replaced or deallocated is removed at start, and each is said once", async () => {
  const node = await startNode();
  const [held, replaced, freed] = [node.addClaim("held"), node.addClaim("replaced"), node.addClaim("freed")];
  const gone = { namespace: "team", name: "gone", uid: "gone-1" };
  await leaveBehind(node.directories.cdi, held, replaced, freed, gone);
  node.addClaim("replaced");
  node.objects.set(`${CLAIMS}/freed`, { metadata: { uid: freed.uid } });
  const unfinished = join(node.directories.cdi, `${filesOf(gone)}.0a0b0c0d.tmp`);
  const foreign = join(node.directories.cdi, "nvidia.com-gpu.json");
  for (const path of [unfinished, foreign]) await writeFile(path, "");
  const { lines, registry } = node.startDriver();
  await untilNamesIn(node.directories.cdi, [...filesOf(held), basename(foreign)]);
  expect(lines.filter((line) => line.startsWith("Removed")).sort()).toEqual([
    expect.stringMatching(/^Removed what was left of a claim: metadata.uid is ".*": expected ".*"$/),
    "Removed what was left of a claim: status.allocation is not set: expected what the scheduler has allocated",
    'Removed what was left of a claim: there is none: expected the one of uid "gone-1"',
  ]);
  expect(await registry.metrics()).toContain("bitfusion_driver_prepared_claims 1");
});

test.each<[string, () => Answer]>([
  ["fails", unavailable],
  ["forbids it", () => Response.json({ message: "forbidden" }, { status: 403 })],
  ["has no claims", () => Response.json({ reason: "NotFound", details: {} }, { status: 404 })],
])("rule 9: with an API server that %s, files stay until it answers, and that is said once", async (_, failure) => {
  const node = await startNode();
  const gone = { namespace: "team", name: "gone", uid: "gone-1" };
  await leaveBehind(node.directories.cdi, gone);
  const askedTwice = Promise.withResolvers<void>();
  node.control.onRequest = () => {
    if (node.requests.length > 2) askedTwice.resolve();
    return failure();
  };
  const { lines } = node.startDriver();
  await askedTwice.promise;
  expect(await namesIn(node.directories.cdi)).toEqual(filesOf(gone));
  expect(lines.filter((line) => line.startsWith("Cannot ask"))).toHaveLength(1);
  delete node.control.onRequest;
  await untilNamesIn(node.directories.cdi, []);
});

test("rule 9: a file that cannot be read stays, and the others do not wait for it", async () => {
  const node = await startNode();
  const gone = { namespace: "team", name: "gone", uid: "gone-1" };
  await leaveBehind(node.directories.cdi, gone);
  await writeFile(join(node.directories.cdi, "bitfusion.io-claim_newer-1.json"), "{}");
  const { lines } = node.startDriver();
  await untilNamesIn(node.directories.cdi, ["bitfusion.io-claim_newer-1.json"]);
  expect(lines).toContainEqual(expect.stringMatching(/^A claim's file stays that cannot be read: .* is not set$/));
});

test("rule 10: it ends with its registration, also in mid call, and leaves nothing", async () => {
  const { kubelet, driver, ...node } = await startRegistered();
  const asked = Promise.withResolvers<void>();
  node.control.onRequest = () => {
    asked.resolve();
    return new Promise<never>(() => {});
  };
  const cut = kubelet.prepare([node.addClaim("train")]).catch(String);
  await asked.promise;
  const ended = driver.end();
  await registered(kubelet, 0);
  await cut;
  await ended;
  for (const directory of Object.values(node.directories)) expect(await namesIn(directory)).toEqual([]);
});

test("it removes the sockets that killed instances left, and not those of a live one", async () => {
  const { kubelet, plugins, ...node } = await startRegistered();
  for (const [directory, name] of [
    [node.directories.registry, "bitfusion.io-dead.sock"],
    [node.directories.driver, "dra-dead.sock"],
  ] as const) {
    const listen = `require("node:net").createServer().listen(${JSON.stringify(join(directory, name))}, () => process.kill(process.pid, "SIGKILL"))`;
    await Bun.spawn([process.execPath, "-e", listen]).exited;
    expect(await namesIn(directory)).toContain(name);
  }
  node.startDriver();
  expect((await registered(kubelet, 2)).slice(0, 1)).toEqual([...plugins]);
  expect(await namesIn(node.directories.registry)).toHaveLength(2);
  expect(await namesIn(node.directories.driver)).toHaveLength(2);
});

test("its metrics tell claims that are prepared, and how long calls took by result", async () => {
  const { kubelet, driver, ...node } = await startRegistered();
  const claims = [node.addClaim("a"), node.addClaim("b"), { namespace: "team", name: "gone", uid: "gone-1" }];
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
