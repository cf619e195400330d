import { afterEach, expect, test } from "bun:test";
import { mkdir, mkdtemp, open, readdir, rename, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  type SimulatedKubelet,
  type SimulatedKubeletOptions,
  startSimulatedKubelet,
} from "../kubernetes/simulated/kubelet.ts";
import { createBackoff } from "../program/backoff.ts";
import { createLatest } from "../program/latest.ts";
import { silentLog } from "../program/testing.ts";
import type { Device, RegisterRequest } from "../proto/gen/deviceplugin/v1beta1/api_pb.ts";
import { type UnitList, unitsOf } from "./devices.ts";
import { type LifecycleOptions, runLifecycle } from "./lifecycle.ts";
import { createPluginMetrics } from "./metrics.ts";

/*
 * What the kubelet asks of a device plugin, from its source (pkg/kubelet/cm/devicemanager) and its own tests (test/e2e_node/device_plugin_test.go).
 * Tests name the rule; those of rule 5 are in devices_test.ts, of 9 in held_units_test.ts, of 11 and of the kubelet's own behaviour in e2e/drills/restarts_e2e.ts.
 *
 *  1 Serve, then Register under a base name; the kubelet dials back within Register.
 *  2 A starting kubelet deletes all sockets: serve and register again.
 *  3 The end of ListAndWatch is the plugin's death: only a new registration helps.
 *  4 Each message is the whole list, sent on change only; ids are stable and of at most 63 characters.
 *  5 A message has at most 4 MiB.
 *  6 Unhealthy lowers allocatable, not capacity; a device can become healthy again.
 *  7 Allocate has one response for each container; a device may be offered again; an unknown or unhealthy one is an error.
 *  8 Optional calls come only if the options say so.
 *  9 PodResourcesLister is the truth about who holds what.
 * 10 A fresh socket name for each registration, verified afterwards: instances overlap, and none ends another's (kubernetes/kubernetes#127803).
 * 11 Assignments are kept through restarts of pods, plugin and kubelet.
 * 12 Never Register twice on one endpoint, also when the answer to the first is not known: the kubelet forgets the connection that it has.
 * 13 The last list wins, whoever sends it: send none when ending.
 */

const RESOURCE = "bitfusion.io/gpu";
const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

function list(gpus: number, healthy = true): UnitList {
  const ids = Array.from({ length: gpus }, (_, index) => ({ id: `gpu-${index}`, model: "T4", memoryMb: 1, healthy }));
  return unitsOf({ servers: [{ address: "a:1", reachable: true, gpus: ids }] });
}

async function makeDirectory(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "kubelet-"));
  cleanups.push(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

/** A kubelet that remembers what it was told. */
async function startKubelet(directory: string, options: Partial<SimulatedKubeletOptions> = {}) {
  const requests: RegisterRequest[] = [];
  const lists: (readonly Device[])[] = [];
  const kubelet = await startSimulatedKubelet({
    directory,
    resourceName: RESOURCE,
    onList: (devices) => lists.push(devices),
    ...options,
    onRegister: async (request) => {
      requests.push(request);
      await options.onRegister?.(request);
    },
  });
  cleanups.push(() => kubelet[Symbol.asyncDispose]());
  return { ...kubelet, requests, lists, stop: () => kubelet[Symbol.asyncDispose]() };
}

/** The plugin's loop, with one GPU to list, until the end of the test. */
function startPlugin(directory: string, options: Partial<LifecycleOptions> = {}) {
  const units = createLatest<UnitList>(list(1));
  const stop = new AbortController();
  const ended = runLifecycle({
    directory,
    socketName: "bitfusion.io",
    resourceName: RESOURCE,
    units,
    log: silentLog,
    metrics: createPluginMetrics({ units: () => units.current, heldUnits: async () => [] }),
    onRegistered: () => {},
    backoff: createBackoff({ initial: 1, max: 20 }),
    signal: stop.signal,
    ...options,
  });
  const end = () => {
    stop.abort();
    return ended;
  };
  cleanups.push(() => end().catch(() => {})); // whoever expects an error looks at it
  return { units, ended, end };
}

/** Waits until the kubelet sees so many allocatable units of so many in all. Returns the plugin's endpoint. */
async function allocatable(kubelet: SimulatedKubelet, units: number, capacity = units): Promise<string | undefined> {
  for await (const resource of kubelet.resource.changes(AbortSignal.timeout(4500))) {
    if (resource.allocatable === units && resource.capacity === capacity) return resource.endpoint;
  }
  throw new Error(`Never ${units} of ${capacity}: ${JSON.stringify(kubelet.resource.current)}`);
}

async function pluginSockets(directory: string): Promise<string[]> {
  return (await readdir(directory)).filter((name) => name !== "kubelet.sock");
}

test("rule 1: it serves before it registers, under a base name, as v1beta1, and wants neither optional call (rule 8)", async () => {
  const directory = await makeDirectory();
  const served = Promise.withResolvers<string[]>();
  // The kubelet dials within Register: without a server there, it would refuse.
  const kubelet = await startKubelet(directory, {
    onRegister: async () => served.resolve(await pluginSockets(directory)),
  });
  startPlugin(directory);
  await allocatable(kubelet, 100);
  const [request] = kubelet.requests;
  expect(await served.promise).toEqual([request?.endpoint ?? ""]);
  expect(request).toMatchObject({
    version: "v1beta1",
    resourceName: RESOURCE,
    endpoint: expect.stringMatching(/^bitfusion\.io-[0-9a-f]{8}\.sock$/),
    options: { preStartRequired: false, getPreferredAllocationAvailable: false },
  });
});

test("rule 2: a restarted kubelet, which deletes all sockets, has it again", async () => {
  const directory = await makeDirectory();
  const kubelet = await startKubelet(directory);
  startPlugin(directory);
  const before = await allocatable(kubelet, 100);
  await kubelet.stop();
  const after = await allocatable(await startKubelet(directory), 100);
  expect(after).not.toBe(before);
  expect(await pluginSockets(directory)).toEqual([after as string]);
});

test("rule 2: it registers again when the own socket is deleted while the kubelet runs on", async () => {
  const directory = await makeDirectory();
  const kubelet = await startKubelet(directory);
  startPlugin(directory);
  const before = await allocatable(kubelet, 100);
  await rm(join(directory, before as string));
  for await (const { endpoint } of kubelet.resource.changes(AbortSignal.timeout(4500))) {
    if (endpoint !== undefined && endpoint !== before) break;
  }
  expect(await allocatable(kubelet, 100)).not.toBe(before);
});

test("rule 2: it registers again when the whole directory is replaced", async () => {
  const directory = await makeDirectory();
  const kubelet = await startKubelet(directory);
  startPlugin(directory);
  await allocatable(kubelet, 100);
  await kubelet.stop();
  await rename(directory, `${directory}.old`);
  cleanups.push(() => rm(`${directory}.old`, { recursive: true, force: true }));
  await mkdir(directory);
  await allocatable(await startKubelet(directory), 100);
});

test("rule 2: it ends when the directory that is mounted was deleted on the node, for only a restart mounts the new one", async () => {
  const directory = await makeDirectory();
  const handle = await open(directory); // its path leads to the directory when that has no name any more, as a mount does
  cleanups.push(() => handle.close());
  const kubelet = await startKubelet(directory);
  const { ended } = startPlugin(`/proc/self/fd/${handle.fd}`);
  await allocatable(kubelet, 100);
  await kubelet.stop();
  await rm(directory, { recursive: true });
  expect(await ended.then(String, String)).toContain("was deleted on the node");
});

test("rule 2: a new kubelet is registered with at once, however long it was to wait after the one before", async () => {
  const directory = await makeDirectory();
  const waiting = Promise.withResolvers<void>();
  const long = createBackoff({ initial: 60_000, max: 60_000 });
  const wait = (signal: AbortSignal) => {
    waiting.resolve();
    return long.wait(signal);
  };
  const kubelet = await startKubelet(directory, {
    onRegister: () => {
      throw new Error("Not now");
    },
  });
  startPlugin(directory, { backoff: { ...long, wait } });
  await waiting.promise;
  await kubelet.stop();
  await allocatable(await startKubelet(directory), 100);
});

test("rule 3: a kubelet that ends each stream at once is registered with less and less often", async () => {
  const directory = await makeDirectory();
  const again = Promise.withResolvers<void>();
  let [waits, resets] = [0, 0];
  const backoff = {
    wait: async () => {
      waits += 1;
      if (waits === 3) again.resolve();
    },
    reset: () => {
      resets += 1;
    },
  };
  const kubelet = await startKubelet(directory, { onList: () => kubelet.endStream() });
  startPlugin(directory, { backoff });
  await again.promise;
  expect(resets).toBe(0);
});

test("rule 3: it registers again when the kubelet ends the stream", async () => {
  const directory = await makeDirectory();
  const kubelet = await startKubelet(directory);
  startPlugin(directory);
  await allocatable(kubelet, 100);
  kubelet.endStream();
  await allocatable(kubelet, 0, 100);
  await allocatable(kubelet, 100);
  expect(kubelet.requests).toHaveLength(2);
});

test("rules 4 and 6: each change is one message with the whole list; health lowers allocatable only, and comes back", async () => {
  const directory = await makeDirectory();
  const kubelet = await startKubelet(directory);
  const { units } = startPlugin(directory);
  await allocatable(kubelet, 100);
  units.set(list(2));
  await allocatable(kubelet, 200);
  units.set(list(2, false));
  await allocatable(kubelet, 0, 200);
  units.set(list(2));
  await allocatable(kubelet, 200);
  expect(kubelet.lists.map((devices) => devices.length)).toEqual([100, 200, 200, 200]);
  expect(new Set(kubelet.lists.flatMap((devices) => devices.map(({ health }) => health)))).toEqual(
    new Set(["Healthy", "Unhealthy"]),
  );
});

test("rule 7: Allocate answers each container, and a unit that is offered again", async () => {
  const directory = await makeDirectory();
  const kubelet = await startKubelet(directory);
  startPlugin(directory);
  await allocatable(kubelet, 100);
  const [first = "", second = ""] = kubelet.resource.current?.devices.keys() ?? [];
  expect(await kubelet.callAllocate([[first, second]])).toBe(1);
  expect(await kubelet.callAllocate([[second], [first], []])).toBe(3);
});

test("rule 10: an instance that ends late takes nothing from the one that came after it", async () => {
  const directory = await makeDirectory();
  const kubelet = await startKubelet(directory);
  const old = startPlugin(directory);
  const first = await allocatable(kubelet, 100);
  const { units } = startPlugin(directory, {});
  for await (const { endpoint } of kubelet.resource.changes(AbortSignal.timeout(4500))) {
    if (endpoint !== first) break;
  }
  await old.end();
  units.set(list(2));
  await allocatable(kubelet, 200);
  expect(kubelet.requests).toHaveLength(2);
  expect(await pluginSockets(directory)).toHaveLength(1);
});

test("rule 10: two instances on one node do not fight: each registers once", async () => {
  const directory = await makeDirectory();
  const kubelet = await startKubelet(directory);
  const first = startPlugin(directory);
  await allocatable(kubelet, 100);
  const second = startPlugin(directory, { units: createLatest(list(2)) });
  await allocatable(kubelet, 200);
  first.units.set(list(3)); // the last list wins, whoever sends it
  await allocatable(kubelet, 300);
  expect(kubelet.requests).toHaveLength(2);
  await second.end();
});

test("rule 12: it never registers twice on one endpoint, however often it is refused", async () => {
  const directory = await makeDirectory();
  let refusals = 3;
  const kubelet = await startKubelet(directory, {
    onRegister: () => {
      if (refusals-- > 0) throw new Error("Not now");
    },
  });
  startPlugin(directory);
  await allocatable(kubelet, 100);
  expect(new Set(kubelet.requests.map(({ endpoint }) => endpoint)).size).toBe(4);
});

test("rule 12: after a Register that nobody answers in time it tries again on a fresh socket", async () => {
  const directory = await makeDirectory();
  const hanging = Promise.withResolvers<void>();
  const kubelet = await startKubelet(directory, {
    onRegister: () => (kubelet.requests.length === 1 ? hanging.promise : undefined),
  });
  startPlugin(directory, { registrationTimeout: 200 });
  await allocatable(kubelet, 100);
  expect(new Set(kubelet.requests.map(({ endpoint }) => endpoint)).size).toBe(2);
  hanging.reject(new Error("Too late"));
});

test("rule 10: a registration that was answered but never used is not taken for one", async () => {
  const directory = await makeDirectory();
  const kubelet = await startKubelet(directory, {
    onRegistered: () => (kubelet.requests.length === 1 ? Promise.reject(new Error("Not dialled")) : Promise.resolve()),
  });
  const told: boolean[] = [];
  startPlugin(directory, { registrationTimeout: 200, onRegistered: (registered) => told.push(registered) });
  await allocatable(kubelet, 100);
  expect(kubelet.requests).toHaveLength(2);
  expect(told[0]).toBe(false);
});

test("rule 1: a kubelet that dials late, after Register, has its list", async () => {
  const directory = await makeDirectory();
  const dial = Promise.withResolvers<void>();
  const registered = Promise.withResolvers<void>();
  const kubelet = await startKubelet(directory, {
    onRegistered: () => {
      registered.resolve();
      return dial.promise;
    },
  });
  startPlugin(directory);
  await registered.promise;
  dial.resolve();
  await allocatable(kubelet, 100);
  expect(kubelet.requests).toHaveLength(1);
});

test("rule 2: a kubelet that restarts while it is registered with has it afterwards", async () => {
  const directory = await makeDirectory();
  const registering = Promise.withResolvers<void>();
  const hanging = Promise.withResolvers<void>();
  const kubelet = await startKubelet(directory, {
    onRegister: () => {
      registering.resolve();
      return hanging.promise;
    },
  });
  startPlugin(directory);
  await registering.promise;
  hanging.reject(new Error("Restarting"));
  await kubelet.stop();
  await allocatable(await startKubelet(directory), 100);
});

test("rule 13: it ends without an empty or unhealthy list, and leaves nothing behind", async () => {
  const directory = await makeDirectory();
  const kubelet = await startKubelet(directory);
  const { end } = startPlugin(directory);
  await allocatable(kubelet, 100);
  await end();
  await allocatable(kubelet, 0, 100); // the kubelet's own conclusion from the end of the stream
  expect(kubelet.lists).toHaveLength(1);
  expect(kubelet.lists[0]?.every(({ health }) => health === "Healthy")).toBe(true);
  expect(await pluginSockets(directory)).toEqual([]);
});

test("rule 10: it does not register before there is a first list", async () => {
  const directory = await makeDirectory();
  const kubelet = await startKubelet(directory);
  const units = createLatest<UnitList>();
  startPlugin(directory, { units });
  for (let turn = 0; turn < 50; turn++) await new Promise(setImmediate);
  expect(kubelet.requests).toHaveLength(0);
  units.set(list(1));
  await allocatable(kubelet, 100);
});
