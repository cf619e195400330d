import { afterEach, expect, test } from "bun:test";
import type { V1Lease } from "@kubernetes/client-node";
import { createLatest } from "../program/latest.ts";
import { silentLog } from "../program/testing.ts";
import { createElection } from "./election.ts";
import { type LeaderOptions, runAsLeader } from "./leader.ts";
import type { KubernetesRequest } from "./request.ts";
import { connectWithKubeconfig, kubeconfigOf, startSimulatedApiServer } from "./simulated/api_server.ts";
import { createObjectStore } from "./simulated/objects.ts";

const PATH = "/apis/coordination.k8s.io/v1/namespaces/system/leases/controller";

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** Starts an API server that can become unavailable. */
async function start() {
  const store = createObjectStore();
  const network = { isDown: false };
  const renewals = createLatest(0);
  const api = startSimulatedApiServer({
    async onRequest(request) {
      if (network.isDown) return new Response(null, { status: 503 });
      const response = await store.answer(request);
      if (request.method === "PUT" && response?.ok) renewals.set((renewals.current ?? 0) + 1);
      return response;
    },
  });
  cleanups.push(() => api[Symbol.asyncDispose]());
  const { request } = await connectWithKubeconfig(kubeconfigOf(api.url));
  const lease = () => store.objects.get(PATH) as unknown as { spec: Record<string, unknown> };

  /** Starts a candidate. Its work runs until the Lease is lost. */
  function candidate(
    identity: string,
    { work, ...options }: Partial<LeaderOptions> & { work?: () => Promise<void> } = {},
  ) {
    const stop = new AbortController();
    const leads = createLatest(false);
    const times = { duration: 1000, renewDeadline: 600, retryPeriod: 50 };
    const ended = runAsLeader(
      { request, namespace: "system", name: "controller", identity, log: silentLog, ...times, ...options },
      async (signal) => {
        leads.set(true);
        await work?.();
        await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
        leads.set(false);
      },
      stop.signal,
    );
    cleanups.push(() => stop.abort());
    return {
      leads,
      ended,
      stop: () => stop.abort(),
      async until(expected: boolean) {
        for await (const each of leads.changes(AbortSignal.timeout(4000))) if (each === expected) return;
        throw new Error(`Waited 4 s for ${identity} to ${expected ? "lead" : "stop leading"}`);
      },
    };
  }
  return { ...store, network, request, renewals, lease, candidate };
}

test("runAsLeader() leads immediately if no candidate leads, and writes its identity to the Lease", async () => {
  const { candidate, lease } = await start();
  await candidate("a").until(true);
  expect(lease().spec).toMatchObject({
    holderIdentity: "a",
    leaseDurationSeconds: 1,
    leaseTransitions: 0,
    acquireTime: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:]+\.\d{6}Z$/),
  });
});

test("one of two candidates of runAsLeader() leads, and the other takes over when the first ends", async () => {
  const { candidate, lease, renewals } = await start();
  const first = candidate("a", { duration: 60_000 });
  await first.until(true);
  const second = candidate("b", { duration: 60_000 });
  for await (const count of renewals.changes(AbortSignal.timeout(4000))) if (count >= 5) break;
  expect(second.leads.current).toBe(false);
  first.stop();
  await first.ended;
  expect(first.leads.current).toBe(false);
  await second.until(true);
  expect(lease().spec).toMatchObject({ holderIdentity: "b", leaseTransitions: 1 });
});

test("runAsLeader() takes over from a dead leader when its Lease has expired by the local clock", async () => {
  const { candidate, put, lease } = await start();
  const spec = { holderIdentity: "dead", leaseDurationSeconds: 1, renewTime: "2100-01-01T00:00:00.000000Z" };
  put(PATH, { spec } as unknown as V1Lease);
  const before = performance.now();
  await candidate("a").until(true);
  expect(performance.now() - before).toBeGreaterThan(900);
  expect(lease().spec).toMatchObject({ holderIdentity: "a" });
});

test("runAsLeader() ends the work before the Lease expires if it cannot renew it, and leads again later", async () => {
  const { candidate, network } = await start();
  const { until } = candidate("a");
  await until(true);
  network.isDown = true;
  await until(false);
  network.isDown = false;
  await until(true);
});

test("runAsLeader() ends the work when another candidate holds the Lease, and does not release that Lease", async () => {
  const { candidate, put, lease } = await start();
  const { until, stop, ended } = candidate("a");
  await until(true);
  put(PATH, { spec: { holderIdentity: "thief", leaseDurationSeconds: 60 } } as V1Lease);
  await until(false);
  stop();
  await ended;
  expect(lease().spec).toEqual({ holderIdentity: "thief", leaseDurationSeconds: 60 });
});

test("takeOver() takes the Lease from its leader, which stops and follows, until the Lease is released", async () => {
  const { candidate, request, lease } = await start();
  const followed = createLatest<string>();
  const { until } = candidate("a", { onFollow: followed.set });
  await until(true);
  const options = { request, namespace: "system", name: "controller", identity: "b", duration: 60_000 };
  const election = createElection(options);
  await election.takeOver(AbortSignal.timeout(4000));
  await until(false);
  for await (const holder of followed.changes(AbortSignal.timeout(4000))) if (holder === "b") break;
  expect(followed.current).toBe("b");
  expect(lease().spec).toMatchObject({ holderIdentity: "b", leaseDurationSeconds: 60, leaseTransitions: 1 });
  await election.release();
  await until(true);
});

test("takeOver() takes a Lease that its leader renews at the same time", async () => {
  const { get, put, request, lease } = await start();
  put(PATH, { spec: { holderIdentity: "a", leaseDurationSeconds: 60 } } as V1Lease);
  let renewals = 0;
  const renewedInBetween: KubernetesRequest = async (path, options) => {
    const response = await request(path, options);
    if (options?.method === undefined && renewals++ === 0) put(PATH, get<V1Lease>(PATH) ?? {}); // a new resourceVersion
    return response;
  };
  const options = { request: renewedInBetween, namespace: "system", name: "controller", identity: "b" };
  await createElection(options).takeOver(AbortSignal.timeout(4000));
  expect(lease().spec).toMatchObject({ holderIdentity: "b" });
});

test("runAsLeader() keeps what others wrote to the Lease when it acquires, renews and releases it", async () => {
  const { candidate, put, objects, renewals } = await start();
  const metadata = { labels: { team: "gpu" }, annotations: { note: "x" }, finalizers: ["example.com/keep"] };
  put(PATH, { metadata });
  const { until, stop, ended } = candidate("a");
  await until(true);
  for await (const count of renewals.changes(AbortSignal.timeout(4000))) if (count >= 2) break;
  expect(objects.get(PATH)).toMatchObject({ metadata, spec: { holderIdentity: "a" } });
  stop();
  await ended;
  expect(objects.get(PATH)).toMatchObject({ metadata, spec: { holderIdentity: "" } });
});

test("runAsLeader() keeps leading when another writer adds a label to the Lease", async () => {
  const { candidate, objects, put, renewals } = await start();
  const { until, leads } = candidate("a");
  await until(true);
  const seen = renewals.current ?? 0;
  for await (const count of renewals.changes(AbortSignal.timeout(4000))) {
    if (count >= seen + 5) break;
    put(PATH, { ...objects.get(PATH), metadata: { labels: { x: String(count) } } });
  }
  expect(leads.current).toBe(true);
});

test("runAsLeader() rethrows the error of the work, and releases the Lease", async () => {
  const { candidate, lease } = await start();
  const work = () => Promise.reject(new Error("failed"));
  expect(await candidate("a", { work }).ended.then(String, String)).toBe("Error: failed");
  expect(lease().spec).toMatchObject({ holderIdentity: "", leaseDurationSeconds: 1 });
});
