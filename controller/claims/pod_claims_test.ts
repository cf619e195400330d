import { afterEach, expect, test } from "bun:test";
import type { RecordedEvent } from "../../kubernetes/events.ts";
import { type Pod, podPath } from "../../kubernetes/objects/pod.ts";
import { claimPath, claimsPath, type ResourceClaim } from "../../kubernetes/objects/resource_claim.ts";
import { connectWithKubeconfig, kubeconfigOf, startSimulatedApiServer } from "../../kubernetes/simulated/api_server.ts";
import { createObjectStore } from "../../kubernetes/simulated/objects.ts";
import { formatPodClaims, type PodClaim } from "../../pool/pod_claims.ts";
import { createLatest } from "../../program/latest.ts";
import { silentLog } from "../../program/testing.ts";
import { createFollowed } from "../followed.ts";
import { createControllerMetrics } from "../metrics.ts";
import { createPodClaims } from "./pod_claims.ts";

const DEADLINE = 4000;

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** Starts an API server, and the control loop after `before` has filled it. */
async function start(
  onRequest?: (request: Request) => Response | undefined | Promise<Response | undefined>,
  before: (store: ReturnType<typeof createObjectStore>) => void = () => {},
) {
  const store = createObjectStore();
  before(store);
  const api = startSimulatedApiServer({
    onRequest: async (request) => (await onRequest?.(request)) ?? (await store.answer(request)),
  });
  cleanups.push(() => api[Symbol.asyncDispose]());
  const { request } = await connectWithKubeconfig(kubeconfigOf(api.url));
  const events = createLatest<readonly RecordedEvent[]>([]);
  const metrics = createControllerMetrics({ supply: () => undefined, waitingClaims: () => [] });
  const podClaims = createPodClaims({
    request,
    claims: { waiting: new Map() },
    pending: createFollowed(),
    record: async (event) => events.set([...(events.current ?? []), event]),
    log: silentLog,
    metrics,
  });
  const stop = new AbortController();
  const ended = podClaims.run(stop.signal);
  cleanups.push(async () => {
    stop.abort();
    await ended;
  });
  const claims = () => store.list<ResourceClaim>("/apis/resource.k8s.io/v1/resourceclaims");
  async function until<T>(find: () => T | undefined | false): Promise<T> {
    for await (const _ of store.version.changes(AbortSignal.timeout(DEADLINE))) {
      const found = find();
      if (found) return found;
    }
    throw new Error(`Waited ${DEADLINE} ms: ${find}`);
  }
  async function event(): Promise<RecordedEvent | undefined> {
    for await (const list of events.changes(AbortSignal.timeout(DEADLINE))) if (list.length > 0) return list[0];
    throw new Error(`Waited ${DEADLINE} ms for an event`);
  }
  const results = async () =>
    (await metrics.registry.getSingleMetricAsString("bitfusion_controller_pod_claims_total")) ?? "";
  return { ...store, api, podClaims, claims, until, event, events, results };
}

function podClaim(name: string, changes: Partial<PodClaim> = {}): PodClaim {
  const share = { gpus: 1, percent: 50 };
  return { name, containers: ["train"], share, units: 50, filters: [], client: "simulated", ...changes };
}

/** A pod with claims. `used` are the names in its spec; by default those of the claims. */
function pod(
  claims: readonly PodClaim[] | string,
  {
    units = 50,
    name = "train",
    used,
    nodeName,
  }: { units?: number; name?: string; used?: string[]; nodeName?: string } = {},
): Pod {
  const names = used ?? (typeof claims === "string" ? [] : claims.map((each) => each.name));
  const annotation = typeof claims === "string" ? claims : formatPodClaims(claims);
  return {
    metadata: { namespace: "team", name, annotations: { "bitfusion.io/claims": annotation } },
    spec: {
      ...(nodeName ? { nodeName } : {}),
      containers: [{ name: "train", image: "x", resources: { limits: { "bitfusion.io/gpu": String(units) } } }],
      resourceClaims: names.map((each, index) => ({ name: `claim-${index}`, resourceClaimName: each })),
    },
  };
}

test("createPodClaims() creates the claims of a pod, owned by the pod", async () => {
  const { put, get, until, claims } = await start();
  const filters = [{ key: "server.addr", value: "a" }];
  const wanted = [podClaim("c-1"), podClaim("c-2", { share: { gpus: 2, percent: 30 }, units: 30, filters })];
  put("/api/v1/namespaces/team/pods/train", pod(wanted, { units: 110 }));
  await until(() => claims().length === 2);
  const uid = get<Pod>("/api/v1/namespaces/team/pods/train")?.metadata.uid;
  expect(get<ResourceClaim>(claimPath("team", "c-2"))).toMatchObject({
    metadata: {
      labels: { "app.kubernetes.io/managed-by": "bitfusion-controller" },
      annotations: {
        "bitfusion.io/share": "2x30",
        "bitfusion.io/containers": "train",
        "bitfusion-client/filter": "server.addr=a",
      },
      ownerReferences: [{ apiVersion: "v1", kind: "Pod", name: "train", uid, controller: true }],
    },
    spec: { devices: { requests: [{ exactly: { count: 2, capacity: { requests: { units: "30" } } } }] } },
  });
});

test.each<[string, Pod, string]>([
  [
    "units that do not cover the claims",
    pod([podClaim("c-1"), podClaim("c-2")], { units: 99 }),
    "its claims in bitfusion.io/claims need 100 units, but it requests 99 units of bitfusion.io/gpu",
  ],
  [
    "a claim that it does not use",
    pod([podClaim("c-1")], { used: ["other"] }),
    "bitfusion.io/claims has the claim c-1, which is not in spec.resourceClaims",
  ],
  ["an annotation that is not one", pod("[{}]"), "bitfusion.io/claims: 0.name is not set"],
  [
    "a claim for more GPUs than a claim can hold",
    pod([podClaim("c-1", { share: { gpus: 33, percent: 50 } })], { units: 1650 }),
    "bitfusion.io/claims has the claim c-1 for 33 GPUs: expected at most 32",
  ],
  [
    "more filters than a claim can have selectors",
    pod([podClaim("c-1", { filters: Array(32).fill({ key: "device.name", value: "T4" }) })]),
    "bitfusion.io/claims: 0.filters: expected at most 31 filters",
  ],
  [
    "an unknown field of 10,000 characters",
    pod(JSON.stringify([{ ["x".repeat(10_000)]: 1 }])),
    "bitfusion.io/claims: 0.name is not set",
  ],
  [
    "control characters",
    pod(JSON.stringify([{ ...podClaim("c-1"), share: "\u001b[2J\u009b" }])),
    'bitfusion.io/claims: 0.share is "\\u001b[2J\\u009b": expected a share such as',
  ],
])("createPodClaims() refuses a pod with %s, once, and goes on with the others", async (_, refused, reason) => {
  const { put, until, claims, event, events, results } = await start();
  put(podPath(refused), refused);
  expect(await event()).toMatchObject({
    object: { kind: "Pod", namespace: "team", name: "train" },
    type: "Warning",
    reason: "ClaimsRefused",
    message: expect.stringContaining(`The pod gets no claims: ${reason}`),
  });
  put(podPath(refused), { ...refused, status: { phase: "Pending" } });
  const other = pod([podClaim("fine")], { name: "other" });
  put(podPath(other), other);
  await until(() => claims().length === 1);
  expect(events.current).toHaveLength(1);
  expect(await results()).toContain('{result="refused"} 1');
});

test("createPodClaims() knows the nodes that a waiting pod selects", async () => {
  const { put, get, until, claims, podClaims } = await start();
  const waiting = pod([podClaim("c-1")]);
  put(podPath(waiting), { ...waiting, spec: { ...waiting.spec, nodeSelector: { zone: "a" } } } as Pod);
  await until(() => claims().length === 1);
  const { uid = "" } = get<Pod>(podPath(waiting))?.metadata ?? {};
  expect(podClaims.nodesOf({ namespace: "team", name: "train", uid })).toEqual([{ zone: ["a"] }]);
  expect(podClaims.nodesOf({ namespace: "team", name: "train", uid: "another" })).toBeUndefined();
});

test("createPodClaims() leaves pods alone that are scheduled, ended, being deleted or without the annotation", async () => {
  const { put, until, claims } = await start();
  const bound = pod([podClaim("bound")], { name: "bound", nodeName: "node-1" });
  const ended = { ...pod([podClaim("ended")], { name: "ended" }), status: { phase: "Failed" } };
  const plain = pod([], { name: "plain" });
  const deleted = pod([podClaim("deleted")], { name: "deleted" });
  Object.assign(deleted.metadata, { deletionTimestamp: "2026-01-01T00:00:00Z" });
  for (const each of [bound, ended, { ...plain, metadata: { ...plain.metadata, annotations: {} } }, deleted] as Pod[]) {
    put(podPath(each), each);
  }
  const last = pod([podClaim("last")], { name: "last" });
  put(podPath(last), last);
  await until(() => claims().length > 0);
  expect(claims().map(({ metadata }) => metadata.name)).toEqual(["last"]);
});

test("createPodClaims() creates the claims of pods that were there before it started, and keeps existing claims", async () => {
  const waiting = pod([podClaim("c-1"), podClaim("c-2")], { units: 100 });
  const { until, claims, events, get } = await start(undefined, (store) => {
    store.put(podPath(waiting), waiting);
    const uid = store.get<Pod>(podPath(waiting))?.metadata.uid;
    const ownerReferences = [{ apiVersion: "v1", kind: "Pod", name: "train", uid, controller: true }];
    store.put(claimPath("team", "c-1"), { metadata: { labels: { kept: "yes" }, ownerReferences }, spec: {} });
  });
  await until(() => claims().length === 2);
  expect(get<ResourceClaim>(claimPath("team", "c-1"))?.metadata).toMatchObject({ labels: { kept: "yes" } });
  expect(events.current).toEqual([]);
});

test("createPodClaims() says that a claim of the name belongs to another pod, and creates its own when that is gone", async () => {
  const { put, remove, until, get, event } = await start(undefined, ({ put }) => {
    const ownerReferences = [{ apiVersion: "v1", kind: "Pod", name: "other", uid: "uid-2", controller: true }];
    put(claimPath("team", "c-1"), { metadata: { ownerReferences }, spec: {} });
  });
  put("/api/v1/namespaces/team/pods/train", pod([podClaim("c-1")]));
  const { reason, message } = (await event()) ?? {};
  expect(reason).toBe("ClaimsNotCreated");
  expect(message).toContain("claim c-1 exists and belongs to Pod other with uid uid-2: expected pod train");
  remove(claimPath("team", "c-1"));
  const { metadata } = await until(() => get<ResourceClaim>(claimPath("team", "c-1")));
  expect(metadata.ownerReferences?.[0]?.name).toBe("train");
});

test("createPodClaims() retries after an error, and records the same reason once", async () => {
  let refusals = 3;
  const { put, until, claims, events } = await start((request) => {
    if (request.method !== "POST" || refusals-- <= 0) return undefined;
    return Response.json({ kind: "Status", code: 403, message: "exceeded quota" }, { status: 403 });
  });
  put("/api/v1/namespaces/team/pods/train", pod([podClaim("c-1")]));
  await until(() => claims().length === 1);
  expect(events.current?.map(({ reason, message }) => [reason, message])).toEqual([
    ["ClaimsNotCreated", `Cannot create its claims: POST ${claimsPath("team")} answered 403: exceeded quota`],
  ]);
});

test("createPodClaims() restores a claim that was deleted while its pod waits, and not after the pod is gone", async () => {
  const { put, remove, until, claims, get, podClaims } = await start();
  put("/api/v1/namespaces/team/pods/train", pod([podClaim("c-1")]));
  await until(() => claims().length === 1);
  remove(claimPath("team", "c-1"));
  podClaims.onClaimDeleted("team/c-1");
  await until(() => get(claimPath("team", "c-1")));
  remove("/api/v1/namespaces/team/pods/train");
  remove(claimPath("team", "c-1"));
  const last = pod([podClaim("last")], { name: "last" });
  put(podPath(last), last);
  await until(() => get(claimPath("team", "last"))); // the deletion of the first pod was seen before
  podClaims.onClaimDeleted("team/c-1");
  const after = pod([podClaim("after")], { name: "after" });
  put(podPath(after), after);
  await until(() => get(claimPath("team", "after")));
  expect(get(claimPath("team", "c-1"))).toBeUndefined();
});

test("createPodClaims() creates the claims of a pod that was recreated under the same name", async () => {
  const { put, remove, until, get, claims } = await start();
  put("/api/v1/namespaces/team/pods/train", pod([podClaim("c-1")]));
  await until(() => claims().length === 1);
  remove("/api/v1/namespaces/team/pods/train");
  put("/api/v1/namespaces/team/pods/train", pod([podClaim("c-2")]));
  await until(() => get(claimPath("team", "c-2")));
});
