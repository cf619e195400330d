import { afterEach, expect, test } from "bun:test";
import type { RecordedEvent } from "../../kubernetes/events.ts";
import { type Pod, podPath } from "../../kubernetes/objects/pod.ts";
import { connectWithKubeconfig, kubeconfigOf, startSimulatedApiServer } from "../../kubernetes/simulated/api_server.ts";
import { createObjectStore } from "../../kubernetes/simulated/objects.ts";
import { claim } from "../../pool/claims/testing.ts";
import { formatPodClaims } from "../../pool/pod_claims.ts";
import { createSupply } from "../../pool/requests/supply.ts";
import { createLatest } from "../../program/latest.ts";
import { createRecordingLog } from "../../program/testing.ts";
import { type ClaimSummary, createClaimIndex, summarizeClaim } from "../claims/claim_index.ts";
import { type PendingPod, summarizePod } from "../claims/pending_pod.ts";
import { createFollowed } from "../followed.ts";
import { createControllerMetrics } from "../metrics.ts";
import type { NodePlacement } from "../nodes/placement.ts";
import { preemptPods } from "./preempt.ts";

const DEADLINE = 4000;

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** The answer about a pod that a disruption budget protects (pkg/registry/core/pod/storage/eviction.go). */
const BUDGET = () => {
  const causes = [{ reason: "DisruptionBudget", message: "The disruption budget db needs 1 healthy pods" }];
  return Response.json({ message: "Cannot evict pod", code: 429, details: { causes } }, { status: 429 });
};

/** The pool's slice: whole GPUs. */
function sliceOf(gpus: readonly string[]) {
  const nodeSelector = { nodeSelectorTerms: [{ matchExpressions: [{ key: "ready", operator: "Exists" as const }] }] };
  const devices = gpus.map((name) => ({ name, attributes: { memoryMb: { int: 16_000 } } }));
  const pool = { name: "p", generation: 1, resourceSliceCount: 1 };
  return { metadata: { name: "p" }, spec: { driver: "bitfusion.io", pool, nodeSelector, devices } };
}

/** A pod that holds a GPU. */
function holderPod(name: string, priority = 0): Pod {
  const metadata = { name, namespace: "low", uid: `uid-${name}`, creationTimestamp: "2026-01-01T00:00:00Z" };
  const resourceClaims = [{ name: "gpu", resourceClaimName: `claim-${name}` }];
  return { metadata, spec: { containers: [], nodeName: "node-1", priority, resourceClaims } };
}

const MESSAGE = "0/1 nodes are available: 1 cannot allocate all claims.";

/** A pod that waits for `gpus` whole GPUs, and the scheduler has tried it. */
function waitingPod(name: string, gpus: number, changes: Partial<Pod["spec"]> = {}, message = MESSAGE): Pod {
  const claims = [
    { name: `claim-${name}`, containers: ["c"], share: { gpus, percent: 100 }, units: 100, filters: [], client: "x" },
  ];
  const annotations = { "bitfusion.io/claims": formatPodClaims(claims) };
  const resources = { limits: { "bitfusion.io/gpu": `${gpus * 100}` } };
  return {
    metadata: { name, namespace: "high", uid: `uid-${name}`, annotations, creationTimestamp: "2026-01-01T00:00:00Z" },
    spec: {
      containers: [{ name: "c", image: "i", resources }],
      priority: 10,
      resourceClaims: [{ name: "gpu", resourceClaimName: `claim-${name}` }],
      ...changes,
    },
    status: { conditions: [{ type: "PodScheduled", status: "False", reason: "Unschedulable", message }] },
  };
}

interface Options {
  /** Pods that hold one GPU each. */
  holders: readonly Pod[];
  waiting: readonly [Pod, gpus: number][];
  /** Answers the eviction of a pod. Undefined: it succeeds. */
  onEviction?: (pod: string, dryRun: boolean) => Response | undefined;
  /** DeviceTaintRules. */
  rules?: readonly object[];
}

/** A rule by which an administrator keeps pods from a GPU. */
const CORDON = {
  spec: { deviceSelector: { driver: "bitfusion.io", device: "g0" }, taint: { key: "cordoned", effect: "NoSchedule" } },
};

/** Starts an API server and the loop. The pods stay until the test ends them. */
async function start({ holders, waiting, onEviction, rules = [] }: Options) {
  const store = createObjectStore();
  for (const pod of holders) store.put(podPath(pod), pod);
  for (const [index, rule] of rules.entries()) {
    store.put(`/apis/resource.k8s.io/v1/devicetaintrules/rule-${index}`, rule);
  }
  const evictions = createLatest<readonly string[]>([]);
  const api = startSimulatedApiServer({
    async onRequest(request) {
      const { pathname, searchParams } = new URL(request.url);
      const [, path = "", name = ""] = /^(.*\/pods\/([^/]+))\/eviction$/.exec(pathname) ?? [];
      if (!name) return store.answer(request);
      const { deleteOptions } = (await request.json()) as { deleteOptions: { preconditions: { uid: string } } };
      const dryRun = searchParams.get("dryRun") === "All";
      evictions.set([...(evictions.current ?? []), `${name}${dryRun ? " dry" : ""}`]);
      const answer = onEviction?.(name, dryRun);
      if (answer) return answer;
      const pod = store.get<Pod>(path);
      expect(deleteOptions.preconditions.uid).toBe(pod?.metadata.uid ?? "");
      if (pod && !dryRun) {
        const deletionTimestamp = new Date(Date.now() + 30_000).toISOString();
        store.put(path, { ...pod, metadata: { ...pod.metadata, deletionTimestamp } });
      }
      return Response.json({ status: "Success" }, { status: 201 });
    },
  });
  cleanups.push(() => api[Symbol.asyncDispose]());
  const { request } = await connectWithKubeconfig(kubeconfigOf(api.url));

  const claims = createClaimIndex();
  const objects = new Map<string, ClaimSummary>();
  const keep = (key: string, summary: ClaimSummary | undefined) => summary && objects.set(key, summary);
  for (const [index, { metadata }] of holders.entries()) {
    const held = claim(`claim-${metadata.name}`, { allocated: { [`p/g${index}`]: 100 } });
    const reservedFor = [{ resource: "pods", name: metadata.name, uid: metadata.uid ?? "" }];
    keep(`low/claim-${metadata.name}`, summarizeClaim({ ...held, status: { ...held.status, reservedFor } }));
  }
  for (const [{ metadata }, count] of waiting) {
    const wanted = claim(`claim-${metadata.name}`, { namespace: "high", pod: metadata.name, count, units: 100 });
    keep(`high/claim-${metadata.name}`, summarizeClaim(wanted));
  }
  claims.apply({ type: "replace", objects });
  const pending = createFollowed<PendingPod>();
  const summaries = waiting.flatMap(([pod]) => summarizePod(pod) ?? []);
  pending.apply({ type: "replace", objects: new Map(summaries.map((pod) => [`high/${pod.name}`, pod])) });
  const nodes = createFollowed<NodePlacement>();
  nodes.apply({ type: "replace", objects: new Map([["node-1", { labels: { ready: "true" }, taints: [] }]]) });

  const events = createLatest<readonly RecordedEvent[]>([]);
  const lines: string[] = [];
  const rounds = createLatest(0);
  const supplyOf = createSupply();
  const metrics = createControllerMetrics({ supply: () => undefined, waitingClaims: () => [] });
  const stop = new AbortController();
  const ended = preemptPods(
    {
      request,
      claims,
      pending,
      nodes,
      supply: () => {
        rounds.set((rounds.current ?? 0) + 1);
        return supplyOf([sliceOf(holders.map((_, index) => `g${index}`))], claims.held);
      },
      record: async (event) => events.set([...(events.current ?? []), event]),
      log: createRecordingLog(lines),
      metrics,
      period: 5,
    },
    stop.signal,
  );
  cleanups.push(async () => {
    stop.abort();
    await ended;
  });
  async function until<T>(latest: { changes(signal: AbortSignal): AsyncIterable<T> }, isMet: (value: T) => boolean) {
    for await (const value of latest.changes(AbortSignal.timeout(DEADLINE))) if (isMet(value)) return value;
    throw new Error(`Waited ${DEADLINE} ms: ${isMet}: ${JSON.stringify([evictions.current, events.current])}`);
  }
  return {
    /** Another pod, of high priority, gets the units of a holder. */
    takeOver(name: string): void {
      const [pod, key] = [holderPod("taker", 99), `low/claim-${name}`];
      store.put(podPath(pod), pod);
      store.remove(podPath(holderPod(name)));
      const summary = claims.claims.get(key);
      if (summary) claims.apply({ type: "put", key, object: { ...summary, consumers: [pod.metadata.uid ?? ""] } });
    },
    lines,
    evictions,
    metrics,
    untilEvents: (count: number) => until(events, (list) => list.length >= count),
    untilEvictions: (count: number) => until(evictions, (list) => list.length >= count),
    /** Resolves after this many more rounds. */
    async rounds(count: number): Promise<void> {
      const first = rounds.current ?? 0;
      await until(rounds, (number) => number >= first + count);
    },
  };
}

test("preemptPods() evicts a pod of lower priority once, and tells both", async () => {
  const { untilEvents, rounds, evictions, metrics } = await start({
    holders: [holderPod("x"), holderPod("y", 5)],
    waiting: [[waitingPod("urgent", 1), 1]],
  });
  const events = await untilEvents(2);
  expect(events).toEqual([
    {
      object: { kind: "Pod", apiVersion: "v1", namespace: "low", name: "x", uid: "uid-x" },
      type: "Normal",
      reason: "Preempted",
      message: "Preempted by pod uid-urgent on GPU p/g0",
    },
    {
      object: { kind: "Pod", apiVersion: "v1", namespace: "high", name: "urgent", uid: "uid-urgent" },
      type: "Normal",
      reason: "Preempting",
      message: "Pods of lower priority that were evicted to make room: 1",
    },
  ]);
  await rounds(5);
  expect(evictions.current).toEqual(["x dry", "x"]);
  expect(await metrics.registry.metrics()).toContain("bitfusion_controller_preemption_victims_total 1");
});

test("preemptPods() does not count twice on a pod that was evicted, although the watch lags", async () => {
  const { untilEvents, rounds, evictions } = await start({
    holders: [holderPod("x"), holderPod("y", 20)],
    waiting: [
      [waitingPod("first", 1), 1],
      [waitingPod("second", 1), 1],
    ],
    onEviction: () => Response.json({}, { status: 201 }),
  });
  await untilEvents(2);
  await rounds(5);
  expect(evictions.current).toEqual(["x dry", "x"]);
});

test("preemptPods() gives a pod time to be scheduled before it evicts others again", async () => {
  const { untilEvents, takeOver, rounds, evictions } = await start({
    holders: [holderPod("x"), holderPod("y", 5)],
    waiting: [[waitingPod("urgent", 1), 1]],
  });
  await untilEvents(2);
  takeOver("x");
  await rounds(5);
  expect(evictions.current).toEqual(["x dry", "x"]);
});

test("preemptPods() makes room for the pod of the highest priority first", async () => {
  const { untilEvents } = await start({
    holders: [holderPod("x"), holderPod("y", 20)],
    waiting: [
      [waitingPod("first", 1, { priority: 5 }), 1],
      [waitingPod("urgent", 1), 1],
    ],
  });
  const [event] = await untilEvents(2);
  expect(event?.message).toStartWith("Preempted by pod uid-urgent");
});

test.each([
  ["may not preempt", waitingPod("quiet", 1, { preemptionPolicy: "Never" })],
  ["lacks something else on each node", waitingPod("large", 1, {}, "0/1 nodes are available: 1 Insufficient cpu.")],
  ["the scheduler has not tried", { ...waitingPod("new", 1), status: {} }],
  [
    "has a claim of another driver",
    waitingPod("other", 1, { resourceClaims: [{ name: "gpu", resourceClaimName: "claim-other" }, { name: "b" }] }),
  ],
])("preemptPods() evicts nobody for a pod that %s", async (_, pod) => {
  const control: [Pod, number] = [waitingPod("control", 1, { priority: 5 }), 1];
  const { rounds, untilEvents, evictions } = await start({
    holders: [holderPod("x"), holderPod("y", 5)],
    waiting: [[pod, 1], control],
  });
  const [event] = await untilEvents(1); // only for the other pod
  expect(event?.message).toBe("Preempted by pod uid-control on GPU p/g0");
  await rounds(3);
  expect(evictions.current).toEqual(["x dry", "x"]);
});

test("preemptPods() evicts nobody if a disruption budget protects one of the victims, and says so once", async () => {
  const { untilEvents, rounds, evictions } = await start({
    holders: [holderPod("x"), holderPod("y")],
    waiting: [[waitingPod("both", 2), 2]],
    onEviction: (pod) => (pod === "y" ? BUDGET() : undefined),
  });
  const [event] = await untilEvents(1);
  expect(event).toMatchObject({ type: "Warning", reason: "PreemptionBlocked", object: { name: "both" } });
  await rounds(5);
  expect((await untilEvents(1)).length).toBe(1);
  expect(evictions.current?.filter((eviction) => !eviction.endsWith("dry"))).toEqual([]);
});

test("preemptPods() evicts another pod instead of one that a disruption budget protects", async () => {
  const { untilEvents, evictions } = await start({
    holders: [holderPod("x"), holderPod("y", 5)],
    waiting: [[waitingPod("urgent", 1), 1]],
    onEviction: (pod) => (pod === "x" ? BUDGET() : undefined),
  });
  await untilEvents(2);
  expect(evictions.current).toEqual(["x dry", "y dry", "y"]);
});

test("preemptPods() evicts nobody from a GPU that an administrator has cordoned", async () => {
  const { untilEvents, evictions } = await start({
    holders: [holderPod("x"), holderPod("y", 5)],
    waiting: [[waitingPod("urgent", 1), 1]],
    rules: [CORDON],
  });
  await untilEvents(2);
  expect(evictions.current).toEqual(["y dry", "y"]);
});

test("preemptPods() logs why an eviction fails, and evicts another pod", async () => {
  const { untilEvents, lines } = await start({
    holders: [holderPod("x"), holderPod("y", 5)],
    waiting: [[waitingPod("urgent", 1), 1]],
    onEviction: (pod) => (pod === "x" ? Response.json({ message: "two budgets" }, { status: 500 }) : undefined),
  });
  const [event] = await untilEvents(2);
  expect(event?.object.name).toBe("y");
  expect(lines.join("\n")).toContain("two budgets");
});

test("preemptPods() goes on when a victim has ended by itself", async () => {
  const gone = () => Response.json({ message: "not found", details: { name: "x" } }, { status: 404 });
  const { untilEvictions, rounds, lines } = await start({
    holders: [holderPod("x")],
    waiting: [[waitingPod("urgent", 1), 1]],
    onEviction: gone,
  });
  await untilEvictions(2);
  await rounds(2);
  expect(lines).toEqual([]);
});
