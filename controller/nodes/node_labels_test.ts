import { afterEach, expect, test } from "bun:test";
import { connectWithKubeconfig, kubeconfigOf, startSimulatedApiServer } from "../../kubernetes/simulated/api_server.ts";
import { createObjectStore } from "../../kubernetes/simulated/objects.ts";
import { silentLog } from "../../program/testing.ts";
import { labelReadyNodes } from "./node_labels.ts";

const LABEL = "bitfusion.io/driver-ready";
const PODS = "/api/v1/namespaces/bitfusion-node/pods";

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** Starts an API server with these nodes, and the control loop. */
async function start(nodes: Readonly<Record<string, object>>, onRequest?: (request: Request) => Response | undefined) {
  const store = createObjectStore();
  for (const [name, labels] of Object.entries(nodes)) store.put(`/api/v1/nodes/${name}`, { metadata: { labels } });
  const api = startSimulatedApiServer({
    onRequest: async (request) => onRequest?.(request) ?? store.answer(request),
  });
  cleanups.push(() => api[Symbol.asyncDispose]());
  const { request } = await connectWithKubeconfig(kubeconfigOf(api.url));
  const stop = new AbortController();
  const ended = labelReadyNodes({ request, namespace: "bitfusion-node", log: silentLog }, stop.signal);
  cleanups.push(async () => {
    stop.abort();
    await ended;
  });
  const labeled = () =>
    [...store.objects]
      .filter(([path, { metadata }]) => path.startsWith("/api/v1/nodes/") && metadata?.labels?.[LABEL])
      .map(([, { metadata }]) => metadata?.name);
  async function untilLabeled(...expected: string[]): Promise<void> {
    for await (const _ of store.version.changes(AbortSignal.timeout(4000))) {
      if (Bun.deepEquals(labeled(), expected)) return;
    }
    throw new Error(`Expected the label on ${expected}: ${labeled()}`);
  }
  const putPod = (name: string, nodeName: string, status: "True" | "False", fields: object = {}) =>
    store.put(`${PODS}/${name}`, {
      metadata: { labels: { "app.kubernetes.io/name": "bitfusion-device-plugin" }, ...fields },
      spec: { nodeName },
      status: { conditions: [{ type: "Ready", status }] },
    });
  const patches = () => api.requests.filter((each) => each.startsWith("PATCH"));
  return { ...store, putPod, untilLabeled, patches };
}

test("labelReadyNodes() labels nodes while a pod of the driver is Ready there, and keeps other labels", async () => {
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

test("labelReadyNodes() keeps the label during a rolling update, and removes it from nodes without the driver", async () => {
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

test("labelReadyNodes() labels a node that comes later, and retries", async () => {
  let refusals = 1;
  const { put, putPod, untilLabeled } = await start({}, ({ method }) =>
    method === "PATCH" && refusals-- > 0 ? Response.json({ message: "no" }, { status: 500 }) : undefined,
  );
  putPod("driver", "late", "True");
  put("/api/v1/nodes/late", { metadata: {} });
  await untilLabeled("late");
});
