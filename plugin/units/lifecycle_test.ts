import { afterEach, expect, test } from "bun:test";
import { mkdir, mkdtemp, open, readdir, rename, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Registry } from "prom-client";
import {
  type SimulatedKubelet,
  type SimulatedKubeletOptions,
  startSimulatedKubelet,
} from "../../kubernetes/simulated/kubelet.ts";
import { createBackoff } from "../../program/backoff.ts";
import { createLatest } from "../../program/latest.ts";
import { silentLog } from "../../program/testing.ts";
import type { Device, RegisterRequest } from "../../proto/gen/deviceplugin/v1beta1/api_pb.ts";
import { createPluginMetrics } from "../metrics.ts";
import { listUnits, type UnitList } from "./devices.ts";
import { type LifecycleOptions, runLifecycle } from "./lifecycle.ts";

/*
 * The kubelet's rules for device plugins, from its source (pkg/kubelet/cm/devicemanager) and its own tests
 * (test/e2e_node/device_plugin_test.go). Each test names its rule. The tests of rule 5 are in devices_test.ts, those of
 * rule 9 in held_units_test.ts, those of rule 11 and of the kubelet's own behavior in e2e/units/restarts_e2e.ts.
 *
 *  1 Serve first, then call Register with the base name of the socket. The kubelet connects back within Register.
 *  2 A starting kubelet deletes all sockets. The plugin must serve and register again.
 *  3 When ListAndWatch ends, the kubelet treats the plugin as dead. Only a new registration helps.
 *  4 Each message is the complete list, sent only on change. Device ids are stable and have at most 63 characters.
 *  5 A message has at most 4 MiB.
 *  6 An unhealthy device lowers allocatable, not capacity. A device can become healthy again.
 *  7 Allocate returns one response per container. A device may be requested again. An unknown or unhealthy
 *    one is an error.
 *  8 The kubelet makes the optional calls only if the plugin's options request them.
 *  9 PodResourcesLister is the source of truth for which container holds what.
 * 10 Each registration needs a new socket name, and is verified afterwards. Instances overlap, and none may end the
 *    registration of another (kubernetes/kubernetes#127803).
 * 11 Assignments survive restarts of pods, plugin and kubelet.
 * 12 Never register one endpoint twice, even if the result of the first call is unknown: the kubelet would lose its
 *    existing connection.
 * 13 The last list wins, whichever instance sends it. An instance that ends sends none.
 */

const RESOURCE = "bitfusion.io/gpu";
const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

function list(gpus: number, healthy = true): UnitList {
  const ids = Array.from({ length: gpus }, (_, index) => ({ id: `gpu-${index}`, model: "T4", memoryMb: 1, healthy }));
  return listUnits({ servers: [{ address: "a:1", reachable: true, gpus: ids }] });
}

async function createKubeletDirectory(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "kubelet-"));
  cleanups.push(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

/** Starts a kubelet that records its Register requests and the lists that it receives. */
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

/** Runs the lifecycle with one GPU until the end of the test. */
function startPlugin(directory: string, options: Partial<LifecycleOptions> = {}) {
  const units = createLatest<UnitList>(list(1));
  const stop = new AbortController();
  const ended = runLifecycle({
    directory,
    socketName: "bitfusion.io",
    resourceName: RESOURCE,
    units,
    log: silentLog,
    metrics: createPluginMetrics({ registry: new Registry(), units: () => units.current, heldUnits: async () => [] }),
    onRegistered: () => {},
    backoff: createBackoff({ initial: 1, max: 20 }),
    signal: stop.signal,
    ...options,
  });
  const end = () => {
    stop.abort();
    return ended;
  };
  cleanups.push(() => end().catch(() => {})); // a test that expects an error awaits `ended`
  return { units, ended, end };
}

/** Waits until the kubelet has this many allocatable units and this capacity. Returns the plugin's endpoint. */
async function untilAllocatable(
  kubelet: SimulatedKubelet,
  units: number,
  capacity = units,
): Promise<string | undefined> {
  for await (const resource of kubelet.resource.changes(AbortSignal.timeout(4500))) {
    if (resource.allocatable === units && resource.capacity === capacity) return resource.endpoint;
  }
  throw new Error(`Expected ${units} allocatable units of ${capacity}: ${JSON.stringify(kubelet.resource.current)}`);
}

async function pluginSockets(directory: string): Promise<string[]> {
  return (await readdir(directory)).filter((name) => name !== "kubelet.sock");
}

test("rules 1 and 8: the plugin serves first, registers a base name as v1beta1, and requests no optional call", async () => {
  const directory = await createKubeletDirectory();
  const served = Promise.withResolvers<string[]>();
  // The kubelet connects within Register, and refuses if nothing is served there.
  const kubelet = await startKubelet(directory, {
    onRegister: async () => served.resolve(await pluginSockets(directory)),
  });
  startPlugin(directory);
  await untilAllocatable(kubelet, 100);
  const [request] = kubelet.requests;
  expect(await served.promise).toEqual([request?.endpoint ?? ""]);
  expect(request).toMatchObject({
    version: "v1beta1",
    resourceName: RESOURCE,
    endpoint: expect.stringMatching(/^bitfusion\.io-[0-9a-f]{8}\.sock$/),
    options: { preStartRequired: false, getPreferredAllocationAvailable: false },
  });
});

test("rule 2: the plugin re-registers when the kubelet restarts and deletes all sockets", async () => {
  const directory = await createKubeletDirectory();
  const kubelet = await startKubelet(directory);
  startPlugin(directory);
  const before = await untilAllocatable(kubelet, 100);
  await kubelet.stop();
  const after = await untilAllocatable(await startKubelet(directory), 100);
  expect(after).not.toBe(before);
  expect(await pluginSockets(directory)).toEqual([after as string]);
});

test("rule 2: the plugin re-registers when its own socket is deleted while the kubelet keeps running", async () => {
  const directory = await createKubeletDirectory();
  const kubelet = await startKubelet(directory);
  startPlugin(directory);
  const before = await untilAllocatable(kubelet, 100);
  await rm(join(directory, before as string));
  for await (const { endpoint } of kubelet.resource.changes(AbortSignal.timeout(4500))) {
    if (endpoint !== undefined && endpoint !== before) break;
  }
  expect(await untilAllocatable(kubelet, 100)).not.toBe(before);
});

test("rule 2: the plugin re-registers when the directory is replaced", async () => {
  const directory = await createKubeletDirectory();
  const kubelet = await startKubelet(directory);
  startPlugin(directory);
  await untilAllocatable(kubelet, 100);
  await kubelet.stop();
  await rename(directory, `${directory}.old`);
  cleanups.push(() => rm(`${directory}.old`, { recursive: true, force: true }));
  await mkdir(directory);
  await untilAllocatable(await startKubelet(directory), 100);
});

test("rule 2: the plugin ends if its mounted directory is deleted: only a restart mounts the new one", async () => {
  const directory = await createKubeletDirectory();
  const handle = await open(directory); // like a mount, the path of the handle still works after the deletion
  cleanups.push(() => handle.close());
  const kubelet = await startKubelet(directory);
  const { ended } = startPlugin(`/proc/self/fd/${handle.fd}`);
  await untilAllocatable(kubelet, 100);
  await kubelet.stop();
  await rm(directory, { recursive: true });
  expect(await ended.then(String, String)).toContain("was deleted on the node");
});

test("rule 2: the plugin registers with a new kubelet at once, without waiting for the backoff", async () => {
  const directory = await createKubeletDirectory();
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
  await untilAllocatable(await startKubelet(directory), 100);
});

test("rule 3: the plugin backs off from a kubelet that ends each stream at once", async () => {
  const directory = await createKubeletDirectory();
  const thirdWait = Promise.withResolvers<void>();
  let [waits, resets] = [0, 0];
  const backoff = {
    wait: async () => {
      waits += 1;
      if (waits === 3) thirdWait.resolve();
    },
    reset: () => {
      resets += 1;
    },
  };
  const kubelet = await startKubelet(directory, { onList: () => kubelet.endStream() });
  startPlugin(directory, { backoff });
  await thirdWait.promise;
  expect(resets).toBe(0);
});

test("rule 3: the plugin starts its backoff again after a registration that lasted", async () => {
  const directory = await createKubeletDirectory();
  const reset = Promise.withResolvers<void>();
  const backoff = { ...createBackoff({ initial: 1 }), reset: reset.resolve };
  const kubelet = await startKubelet(directory);
  startPlugin(directory, { backoff });
  await untilAllocatable(kubelet, 100);
  await reset.promise;
});

test("rule 3: the plugin re-registers when the kubelet ends the stream", async () => {
  const directory = await createKubeletDirectory();
  const kubelet = await startKubelet(directory);
  startPlugin(directory);
  await untilAllocatable(kubelet, 100);
  kubelet.endStream();
  await untilAllocatable(kubelet, 0, 100);
  await untilAllocatable(kubelet, 100);
  expect(kubelet.requests).toHaveLength(2);
});

test("rules 4 and 6: each change is one message with the complete list; health changes allocatable only", async () => {
  const directory = await createKubeletDirectory();
  const kubelet = await startKubelet(directory);
  const { units } = startPlugin(directory);
  await untilAllocatable(kubelet, 100);
  units.set(list(2));
  await untilAllocatable(kubelet, 200);
  units.set(list(2, false));
  await untilAllocatable(kubelet, 0, 200);
  units.set(list(2));
  await untilAllocatable(kubelet, 200);
  expect(kubelet.lists.map((devices) => devices.length)).toEqual([100, 200, 200, 200]);
  expect(new Set(kubelet.lists.flatMap((devices) => devices.map(({ health }) => health)))).toEqual(
    new Set(["Healthy", "Unhealthy"]),
  );
});

test("rule 7: Allocate returns a response per container, and accepts a unit that is requested again", async () => {
  const directory = await createKubeletDirectory();
  const kubelet = await startKubelet(directory);
  startPlugin(directory);
  await untilAllocatable(kubelet, 100);
  const [first = "", second = ""] = kubelet.resource.current?.devices.keys() ?? [];
  expect(await kubelet.callAllocate([[first, second]])).toBe(1);
  expect(await kubelet.callAllocate([[second], [first], []])).toBe(3);
});

test("rule 10: an instance that ends late does not affect its successor", async () => {
  const directory = await createKubeletDirectory();
  const kubelet = await startKubelet(directory);
  const old = startPlugin(directory);
  const first = await untilAllocatable(kubelet, 100);
  const { units } = startPlugin(directory);
  for await (const { endpoint } of kubelet.resource.changes(AbortSignal.timeout(4500))) {
    if (endpoint !== first) break;
  }
  await old.end();
  units.set(list(2));
  await untilAllocatable(kubelet, 200);
  expect(kubelet.requests).toHaveLength(2);
  expect(await pluginSockets(directory)).toHaveLength(1);
});

test("rule 10: two instances on one node register once each", async () => {
  const directory = await createKubeletDirectory();
  const kubelet = await startKubelet(directory);
  const first = startPlugin(directory);
  await untilAllocatable(kubelet, 100);
  const second = startPlugin(directory, { units: createLatest(list(2)) });
  await untilAllocatable(kubelet, 200);
  first.units.set(list(3)); // rule 13: the last list wins, whichever instance sends it
  await untilAllocatable(kubelet, 300);
  expect(kubelet.requests).toHaveLength(2);
  await second.end();
});

test("rule 12: the plugin never registers one endpoint twice, however often the kubelet refuses it", async () => {
  const directory = await createKubeletDirectory();
  let refusals = 3;
  const kubelet = await startKubelet(directory, {
    onRegister: () => {
      if (refusals-- > 0) throw new Error("Not now");
    },
  });
  startPlugin(directory);
  await untilAllocatable(kubelet, 100);
  expect(new Set(kubelet.requests.map(({ endpoint }) => endpoint)).size).toBe(4);
});

test("rule 12: the plugin retries on a new socket when Register times out", async () => {
  const directory = await createKubeletDirectory();
  const hanging = Promise.withResolvers<void>();
  const kubelet = await startKubelet(directory, {
    onRegister: () => (kubelet.requests.length === 1 ? hanging.promise : undefined),
  });
  startPlugin(directory, { registrationTimeout: 200 });
  await untilAllocatable(kubelet, 100);
  expect(new Set(kubelet.requests.map(({ endpoint }) => endpoint)).size).toBe(2);
  hanging.reject(new Error("Too late"));
});

test("rule 10: the plugin re-registers when Register succeeds but the kubelet never connects", async () => {
  const directory = await createKubeletDirectory();
  const kubelet = await startKubelet(directory, {
    onRegistered: () => (kubelet.requests.length === 1 ? Promise.reject(new Error("Not dialed")) : Promise.resolve()),
  });
  const states: boolean[] = [];
  startPlugin(directory, { registrationTimeout: 200, onRegistered: (registered) => states.push(registered) });
  await untilAllocatable(kubelet, 100);
  expect(kubelet.requests).toHaveLength(2);
  expect(states[0]).toBe(false);
});

test("rule 1: a kubelet that connects only after Register receives the list", async () => {
  const directory = await createKubeletDirectory();
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
  await untilAllocatable(kubelet, 100);
  expect(kubelet.requests).toHaveLength(1);
});

test("rule 2: the plugin re-registers when the kubelet restarts during Register", async () => {
  const directory = await createKubeletDirectory();
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
  await untilAllocatable(await startKubelet(directory), 100);
});

test("rule 13: the plugin ends without sending an empty or unhealthy list, and removes its socket", async () => {
  const directory = await createKubeletDirectory();
  const kubelet = await startKubelet(directory);
  const { end } = startPlugin(directory);
  await untilAllocatable(kubelet, 100);
  await end();
  await untilAllocatable(kubelet, 0, 100); // the kubelet concludes this from the end of the stream
  expect(kubelet.lists).toHaveLength(1);
  expect(kubelet.lists[0]?.every(({ health }) => health === "Healthy")).toBe(true);
  expect(await pluginSockets(directory)).toEqual([]);
});

test("rule 10: the plugin does not register before it has a list", async () => {
  const directory = await createKubeletDirectory();
  const kubelet = await startKubelet(directory);
  const units = createLatest<UnitList>();
  startPlugin(directory, { units });
  for (let tick = 0; tick < 50; tick++) await new Promise(setImmediate);
  expect(kubelet.requests).toHaveLength(0);
  units.set(list(1));
  await untilAllocatable(kubelet, 100);
});
