import { afterEach, expect, test } from "bun:test";
import { runAsLeader } from "../../kubernetes/leader.ts";
import type { Node } from "../../kubernetes/objects/node.ts";
import { RESOURCE_SLICES } from "../../kubernetes/objects/resource_slice.ts";
import { connectWithKubeconfig, kubeconfigOf, startSimulatedApiServer } from "../../kubernetes/simulated/api_server.ts";
import { claim } from "../../pool/claims/testing.ts";
import { createLatest } from "../../program/latest.ts";
import { silentLog } from "../../program/testing.ts";
import { createLeaderWork } from "../leader_work.ts";
import { createControllerMetrics } from "../metrics.ts";
import { gpu, inventoryOf, server } from "../testing.ts";
import { uninstall } from "./uninstall.ts";

const LEASE = "/apis/coordination.k8s.io/v1/namespaces/bitfusion-system/leases/bitfusion-controller";
const TEMPLATE = "/apis/resource.k8s.io/v1/namespaces/team/resourceclaimtemplates/old";
const LABEL = "bitfusion.io/driver-ready";
const NODE = { metadata: { labels: { zone: "1" } }, status: { capacity: { cpu: "2" }, allocatable: { cpu: "2" } } };
const OWNER = { apiVersion: "v1", kind: "Namespace", name: "bitfusion-system", uid: "1" };

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** Starts an API server, and a replica of the controller that has published a GPU and labeled a node. */
async function startPublished(onRequest?: (request: Request) => Response | undefined) {
  const api = startSimulatedApiServer({ onRequest });
  cleanups.push(() => api[Symbol.asyncDispose]());
  const { store, requests } = api;
  const { request } = await connectWithKubeconfig(kubeconfigOf(api.url));
  store.put("/api/v1/nodes/a", NODE);
  store.put("/api/v1/nodes/b", {});
  store.put("/api/v1/namespaces/bitfusion-node/pods/driver", {
    metadata: { labels: { "app.kubernetes.io/name": "bitfusion-device-plugin" } },
    spec: { nodeName: "a", containers: [] },
    status: { conditions: [{ type: "Ready", status: "True" }] },
  });
  const used = { "bitfusion.io/last-used": new Date().toISOString() };
  store.put(TEMPLATE, {
    metadata: { labels: { "app.kubernetes.io/managed-by": "bitfusion-webhook" }, annotations: used },
  });
  const work = () =>
    createLeaderWork({
      request,
      owner: OWNER,
      preemption: true,
      driverNamespace: "bitfusion-node",
      inventory: (signal) => createLatest(inventoryOf(server("s:1", [gpu("a")]))).changes(signal),
      clientOf: () => undefined,
      record: async () => {},
      log: silentLog,
      metrics: createControllerMetrics({ supply: () => undefined, waitingClaims: () => [] }),
    });
  const stop = new AbortController();
  const lease = { request, namespace: "bitfusion-system", name: "bitfusion-controller", identity: "replica" };
  const times = { duration: 1000, renewDeadline: 600, retryPeriod: 50 };
  const ended = runAsLeader({ ...lease, ...times, log: silentLog }, (signal) => work().run(signal), stop.signal);
  cleanups.push(async () => {
    stop.abort();
    await ended;
  });

  const labeled = () => store.list<Node>("/api/v1/nodes").filter(({ metadata }) => metadata.labels?.[LABEL]);
  const isPublished = () =>
    store.list(RESOURCE_SLICES).length === 1 &&
    labeled().some(({ status }) => status?.allocatable?.["bitfusion.io/gpu"]);
  async function untilPublished(): Promise<void> {
    for await (const _ of store.version.changes(AbortSignal.timeout(4000))) if (isPublished()) return;
    throw new Error(`Waited 4 s: ${JSON.stringify([...store.objects])}`);
  }
  const holder = () => store.get<{ spec: { holderIdentity: string } }>(LEASE)?.spec.holderIdentity;
  const lines: string[] = [];
  const print = (line: string) => void lines.push(line);
  const run = () =>
    uninstall({ request, namespace: "bitfusion-system", print, handover: 1000 }, AbortSignal.timeout(10_000));
  await untilPublished();
  return { store, requests, labeled, untilPublished, holder, lines, run };
}

test("uninstall() removes slices, old templates and what nodes have, and no replica leads until the Lease is deleted", async () => {
  const { store, requests, labeled, untilPublished, lines, run } = await startPublished();
  await run();
  expect(lines).toEqual([
    "Waiting until the controller has stopped",
    "ResourceSlice bitfusion-0 removed",
    "ResourceClaimTemplate team/old removed",
    "Label and capacity of node a removed",
  ]);
  const { metadata, status } = store.get<Node>("/api/v1/nodes/a") ?? {};
  expect({ metadata: { labels: metadata?.labels }, status }).toEqual(NODE);
  expect(store.get(LEASE)).toMatchObject({
    spec: { holderIdentity: expect.stringMatching(/^uninstall_/), leaseDurationSeconds: 2 ** 31 - 1 },
  });
  const attempts = () => requests.filter((each) => each === `GET ${LEASE}`).length;
  const before = attempts();
  while (attempts() < before + 5) await new Promise(setImmediate);
  expect([store.list(RESOURCE_SLICES), labeled(), store.get(TEMPLATE)]).toEqual([[], [], undefined]);
  store.remove(LEASE);
  await untilPublished();
});

test("uninstall() succeeds on an API server without claims", async () => {
  let isOld = false;
  const { lines, holder, run } = await startPublished(({ url }) =>
    isOld && url.includes("/apis/resource.k8s.io/") ? new Response("404 page not found", { status: 404 }) : undefined,
  );
  isOld = true;
  await run();
  expect(lines.slice(1)).toEqual(["Label and capacity of node a removed"]);
  expect(holder()).toStartWith("uninstall_");
});

test("uninstall() names at most 20 pods that use the pool, and changes nothing", async () => {
  const { store, requests, holder, lines, run } = await startPublished();
  for (let index = 10; index < 35; index++) {
    store.put(`/api/v1/namespaces/team/pods/train-${index}`, {
      spec: { containers: [{ resources: { limits: { "bitfusion.io/gpu": "10" } } }] },
    });
  }
  const before = requests.length;
  const { message } = await run().then(
    () => new Error("uninstalled"),
    (error: Error) => error,
  );
  const named = Array.from({ length: 20 }, (_, index) => `  pod team/train-${index + 10}\n`).join("");
  expect(message).toBe(`Cannot uninstall while these use GPUs of the pool, or wait for some:\n${named}  and 5 more`);
  expect(lines).toEqual([]);
  const removals = requests.slice(before).filter((each) => each.startsWith("DELETE"));
  expect([removals, holder()]).toEqual([[], "replica"]);
});

test("uninstall() gives the pool back if a claim is allocated in the meantime, and names its pod", async () => {
  let isAllocated = false;
  const { store, untilPublished, holder, lines, run } = await startPublished(({ method, url }) => {
    if (method === "DELETE" && url.includes("/resourceslices/") && !isAllocated) {
      isAllocated = true;
      const reservedFor = [{ resource: "pods", name: "late", uid: "uid-late" }];
      const { status, ...late } = claim("late", { allocated: { "bitfusion-0/a": 60 } });
      const path = "/apis/resource.k8s.io/v1/namespaces/team/resourceclaims/late";
      store.put(path, { ...late, status: { ...status, reservedFor } });
    }
    return undefined;
  });
  expect(await run().catch(String)).toEndWith("or wait for some:\n  pod team/late");
  expect(lines.at(-1)).toBe("Nothing is uninstalled: the controller publishes the pool again");
  await untilPublished();
  expect(holder()).toBe("replica");
});

test("uninstall() gives the pool back if the API server refuses a write", async () => {
  let isUninstalling = false;
  const { untilPublished, run } = await startPublished(({ method, url }) => {
    if (method === "DELETE" && url.includes("/resourceslices/")) isUninstalling = true;
    if (method !== "PATCH" || !isUninstalling) return undefined;
    isUninstalling = false;
    return new Response("not now", { status: 503 });
  });
  expect(await run().catch(String)).toBe("KubernetesError: PATCH /api/v1/nodes/a answered 503: not now");
  await untilPublished();
});
