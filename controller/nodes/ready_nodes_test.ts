import { afterEach, expect, test } from "bun:test";
import { NODES, type Node } from "../../kubernetes/objects/node.ts";
import { connectWithKubeconfig, kubeconfigOf, startSimulatedApiServer } from "../../kubernetes/simulated/api_server.ts";
import { createObjectStore } from "../../kubernetes/simulated/objects.ts";
import { silentLog } from "../../program/testing.ts";
import { createFollowed } from "../followed.ts";
import { markReadyNodes } from "./ready_nodes.ts";

const LABEL = "bitfusion.io/driver-ready";
const UNITS = "bitfusion.io/gpu";
const PODS = "/api/v1/namespaces/bitfusion-node/pods";

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** Starts an API server with these nodes, and the control loop. */
async function start(nodes: Readonly<Record<string, object>>, onRequest?: (request: Request) => Response | undefined) {
  const store = createObjectStore();
  for (const [name, labels] of Object.entries(nodes)) store.put(`${NODES}/${name}`, { metadata: { labels } });
  const api = startSimulatedApiServer({
    onRequest: async (request) => onRequest?.(request) ?? store.answer(request),
  });
  cleanups.push(() => api[Symbol.asyncDispose]());
  const { request } = await connectWithKubeconfig(kubeconfigOf(api.url));
  const stop = new AbortController();
  const ended = markReadyNodes(
    { request, namespace: "bitfusion-node", nodes: createFollowed(), log: silentLog, period: 20 },
    stop.signal,
  );
  cleanups.push(async () => {
    stop.abort();
    await ended;
  });
  const labeled = () =>
    [...store.objects]
      .filter(([path, { metadata }]) => path.startsWith(`${NODES}/`) && metadata?.labels?.[LABEL])
      .map(([, { metadata }]) => metadata?.name);
  async function untilLabeled(...expected: string[]): Promise<void> {
    for await (const _ of store.version.changes(AbortSignal.timeout(4000))) {
      if (Bun.deepEquals(labeled(), expected)) return;
    }
    throw new Error(`Expected the label on ${expected}: ${labeled()}`);
  }
  /** The capacity of a node, and what is allocatable of it. */
  const capacityOf = (name: string) => {
    const { status } = store.get<Node>(`${NODES}/${name}`) ?? {};
    return [status?.capacity?.[UNITS], status?.allocatable?.[UNITS]];
  };
  async function untilCapacity(name: string, ...expected: (string | undefined)[]): Promise<void> {
    for await (const _ of store.version.changes(AbortSignal.timeout(4000))) {
      if (Bun.deepEquals(capacityOf(name), expected)) return;
    }
    throw new Error(`Expected the capacity ${expected} of ${name}: ${capacityOf(name)}`);
  }
  /** Changes the status of a node, as its kubelet does. */
  const putUnits = (name: string, capacity: string, allocatable: string) => {
    const path = `${NODES}/${name}`;
    const status = { capacity: { cpu: "2", [UNITS]: capacity }, allocatable: { cpu: "2", [UNITS]: allocatable } };
    store.put(path, { ...store.get(path), status });
  };
  const putPod = (name: string, nodeName: string, status: "True" | "False", fields: object = {}) =>
    store.put(`${PODS}/${name}`, {
      metadata: { labels: { "app.kubernetes.io/name": "bitfusion-device-plugin" }, ...fields },
      spec: { nodeName, containers: [] },
      status: { conditions: [{ type: "Ready", status }] },
    });
  const patches = () => api.requests.filter((each) => each.startsWith("PATCH"));
  return { ...store, putPod, putUnits, untilLabeled, untilCapacity, capacityOf, patches, requests: api.requests };
}

test("markReadyNodes() labels nodes while a pod of the driver is Ready there, and keeps other labels", async () => {
  const { get, putPod, remove, untilLabeled } = await start({ a: { zone: "1" }, b: {}, c: {} });
  putPod("driver-a", "a", "True");
  putPod("driver-b", "b", "False");
  putPod("driver-c", "c", "True", { labels: { "app.kubernetes.io/name": "other" } });
  await untilLabeled("a");
  putPod("driver-b", "b", "True");
  await untilLabeled("a", "b");
  putPod("driver-a", "a", "False");
  await untilLabeled("b");
  remove(`${PODS}/driver-b`);
  await untilLabeled();
  expect(get("/api/v1/nodes/a")).toMatchObject({ metadata: { labels: { zone: "1" } } });
});

test("markReadyNodes() keeps the label during a rolling update, and removes it from nodes without the driver", async () => {
  const { putPod, remove, untilLabeled, patches } = await start({ a: {}, old: { [LABEL]: "true" } });
  putPod("first", "a", "True");
  await untilLabeled("a");
  putPod("second", "a", "True");
  putPod("first", "a", "True", { deletionTimestamp: "2026-01-01T00:00:00Z" });
  remove(`${PODS}/first`);
  putPod("other", "old", "True"); // a later change: everything before it was seen
  await untilLabeled("a", "old");
  expect(patches().filter((patch) => patch.endsWith("/a"))).toHaveLength(1);
});

test("markReadyNodes() labels a node that comes later, and retries", async () => {
  let refusals = 1;
  const { put, putPod, untilLabeled, untilCapacity } = await start({}, ({ method }) =>
    method === "PATCH" && refusals-- > 0 ? Response.json({ message: "no" }, { status: 500 }) : undefined,
  );
  putPod("driver", "late", "True");
  put("/api/v1/nodes/late", { metadata: {} });
  await untilLabeled("late");
  await untilCapacity("late", "1G", "1G");
});

test("markReadyNodes() gives ready nodes a capacity that is never in the way, which stays while the driver is away", async () => {
  const { put, putPod, putUnits, untilCapacity, untilLabeled, capacityOf, get } = await start({ a: {}, b: {} });
  put(`${NODES}/a`, { metadata: {}, status: { capacity: { cpu: "2" }, allocatable: { cpu: "1" } } });
  putPod("driver-a", "a", "True");
  await untilCapacity("a", "1G", "1G");
  expect(get<Node>(`${NODES}/a`)?.status).toMatchObject({ capacity: { cpu: "2" }, allocatable: { cpu: "1" } });
  expect(capacityOf("b")).toEqual([undefined, undefined]);
  putPod("driver-a", "a", "False");
  await untilLabeled();
  expect(capacityOf("a")).toEqual(["1G", "1G"]);
  putPod("driver-a", "a", "True");
  await untilLabeled("a");
  for (const [capacity, allocatable] of [
    ["0", "0"], // a kubelet that finds a node again
    ["1G", "0"],
  ] as const) {
    putUnits("a", capacity, allocatable);
    await untilCapacity("a", "1G", "1G");
  }
});

test("markReadyNodes() leaves the capacity of a device plugin alone until the kubelet has forgotten the plugin", async () => {
  const { putPod, putUnits, untilCapacity, untilLabeled, patches } = await start({ a: {}, b: {} });
  putUnits("a", "300", "300");
  putPod("driver-a", "a", "True");
  await untilLabeled("a");
  putUnits("a", "300", "0"); // the plugin has ended
  putPod("driver-b", "b", "True"); // a later change: everything before it was seen
  await untilCapacity("b", "1G", "1G");
  expect(patches()).not.toContain(`PATCH ${NODES}/a/status`);
  putUnits("a", "0", "0"); // five minutes later
  await untilCapacity("a", "1G", "1G");
});

test("markReadyNodes() gives a node whose kubelet has forgotten a device plugin no capacity while pods of that time run", async () => {
  const { put, putPod, putUnits, untilCapacity, untilLabeled, requests, capacityOf } = await start({ a: {} });
  const container = { resources: { limits: { [UNITS]: "5" } } };
  const team = "/api/v1/namespaces/team/pods";
  put(`${team}/other`, { spec: { nodeName: "b", containers: [container] }, status: { phase: "Running" } });
  put(`${team}/holder`, { spec: { nodeName: "a", containers: [container] }, status: { phase: "Running" } });
  putUnits("a", "0", "0");
  putPod("driver-a", "a", "True");
  await untilLabeled("a");
  const looks = () => requests.filter((each) => each === "GET /api/v1/pods").length;
  while (looks() < 4) await new Promise(setImmediate);
  expect(capacityOf("a")).toEqual(["0", "0"]);
  put(`${team}/holder`, { spec: { nodeName: "a", containers: [container] }, status: { phase: "Succeeded" } });
  const before = looks();
  await untilCapacity("a", "1G", "1G");
  expect(looks() - before).toBeGreaterThanOrEqual(2); // the kubelet forgets the units of an ended pod with some delay
});
