import { afterEach, expect, test } from "bun:test";
import { serveGrpc } from "../grpc/server.ts";
import { RESOURCE_CLAIMS } from "../kubernetes/objects/resource_claim.ts";
import { RESOURCE_SLICES, type ResourceSlice } from "../kubernetes/objects/resource_slice.ts";
import { connectWithKubeconfig, kubeconfigOf, startSimulatedApiServer } from "../kubernetes/simulated/api_server.ts";
import { createObjectStore, type ObjectStoreOptions } from "../kubernetes/simulated/objects.ts";
import { attributesOfPool, type DeviceAttributes } from "../pool/attributes.ts";
import { claim } from "../pool/claims/testing.ts";
import { deviceName } from "../pool/device_name.ts";
import type { Inventory, InventorySource } from "../pool/inventory.ts";
import { createPoolSource } from "../pool/sources/pool_source.ts";
import { followPublishedPool } from "../pool/sources/published_pool.ts";
import { testClientOf } from "../pool/sources/testing.ts";
import type { Token } from "../pool/token/token.ts";
import { createLatest } from "../program/latest.ts";
import { createRecordingLog, silentLog } from "../program/testing.ts";
import { PoolService } from "../proto/gen/bitfusion/pool/v1/pool_pb.ts";
import { startPoolServer, TEST_HOLDER } from "../server/testing.ts";
import { TEST_CLIENT, TEST_SERVER } from "../tls/testing.ts";
import { findMissing } from "./api_support.ts";
import { createLeaderWork } from "./leader_work.ts";
import { createControllerMetrics } from "./metrics.ts";
import { toResourceSlice } from "./slices/slice.ts";
import { devicesOf, gpu, inventoryOf, server } from "./testing.ts";

const [A, B] = [deviceName("a"), deviceName("b")];
const OWNER = { apiVersion: "v1", kind: "Namespace", name: "bitfusion-system", uid: "1" };
const TEAM = "/apis/resource.k8s.io/v1/namespaces/team/resourceclaims";
const DEADLINE = 4000;

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** Starts an API server. `startLeader` starts a controller that leads. */
async function start(
  onRequest?: (request: Request) => Response | undefined | Promise<Response | undefined>,
  options?: ObjectStoreOptions,
) {
  const store = createObjectStore(options);
  const writes = createLatest<readonly string[]>([]);
  const lines: string[] = [];
  const api = startSimulatedApiServer({
    async onRequest(request) {
      const response = (await onRequest?.(request)) ?? (await store.answer(request));
      if (request.method !== "GET" && request.url.includes("resourceslices")) {
        writes.set([...(writes.current ?? []), `${request.method} ${response?.status}`]);
      }
      return response;
    },
  });
  cleanups.push(() => api[Symbol.asyncDispose]());
  const { request } = await connectWithKubeconfig(kubeconfigOf(api.url));
  const inventory = createLatest<Inventory>();
  const slices = () =>
    [...store.objects].flatMap(([path, slice]) =>
      path.startsWith(`${RESOURCE_SLICES}/`) ? [slice as unknown as ResourceSlice] : [],
    );

  function startLeader(source: InventorySource = (signal) => inventory.changes(signal), owner = OWNER) {
    const stop = new AbortController();
    const metrics = createControllerMetrics({
      supply: () => work.supply(),
      waitingClaims: () => work.waitingClaims(),
    });
    const work = createLeaderWork({
      request,
      owner,
      driverNamespace: "bitfusion-node",
      inventory: source,
      clientOf: testClientOf,
      preemption: true,
      record: async () => {},
      log: createRecordingLog(lines),
      metrics,
    });
    const ended = work.run(stop.signal);
    cleanups.push(() => stop.abort());
    return { work, metrics, ended, stop: () => stop.abort() };
  }
  /** Waits until the slices are as expected. Checks them after each write. */
  async function until(isExpected: (slices: readonly ResourceSlice[]) => boolean): Promise<readonly ResourceSlice[]> {
    for await (const _ of writes.changes(AbortSignal.timeout(DEADLINE))) if (isExpected(slices())) return slices();
    throw new Error(`Waited ${DEADLINE} ms: ${JSON.stringify(slices())}`);
  }
  /** Changes the first slice, as another writer would. */
  function labelFirstSlice(): void {
    const path = `${RESOURCE_SLICES}/bitfusion-0`;
    store.put(path, { ...store.objects.get(path), metadata: { labels: { by: "another" } } });
  }
  return { ...store, ...api, request, inventory, slices, writes, lines, startLeader, until, labelFirstSlice };
}

async function waitUntil(isTrue: () => boolean | undefined): Promise<void> {
  const deadline = performance.now() + DEADLINE;
  while (!isTrue()) {
    if (performance.now() > deadline) throw new Error(`Waited ${DEADLINE} ms: ${isTrue}`);
    await new Promise(setImmediate);
  }
}

const names = (slices: readonly ResourceSlice[]) => [...devicesOf(slices).keys()];

test("createLeaderWork() publishes the pool and its changes, and restores a slice that another writer changed or removed", async () => {
  const { inventory, startLeader, until, put, remove, slices } = await start();
  startLeader();
  inventory.set(inventoryOf(server("s:1", [gpu("a")])));
  await until((list) => names(list).includes(`bitfusion-0/${A}`));
  inventory.set(inventoryOf(server("s:1", [gpu("a"), gpu("b")])));
  await until((list) => names(list).length === 2);
  const [slice] = slices() as [ResourceSlice];
  put(`${RESOURCE_SLICES}/bitfusion-0`, { ...slice, spec: { ...slice.spec, devices: [] } } as never);
  await until((list) => names(list).length === 2);
  remove(`${RESOURCE_SLICES}/bitfusion-0`); // possibly before the watch reports the last write
  await until((list) => names(list).length === 2);
});

test("createLeaderWork() publishes a pool that webhooks read back", async () => {
  const { inventory, startLeader, request } = await start();
  startLeader();
  const gpus = Array.from({ length: 70 }, (_, index) => gpu(`gpu-${index}`)); // two slices
  const pool = inventoryOf(server("s:1", gpus), server("t:1", [gpu("x", { healthy: false })], { reachable: false }));
  inventory.set(pool);
  for await (const attributes of followPublishedPool({ request, log: silentLog }, AbortSignal.timeout(DEADLINE))) {
    if (!attributes) continue; // never a part of the pool
    expect(attributes).toEqual(attributesOfPool(pool) as DeviceAttributes[]);
    return;
  }
  throw new Error(`Waited ${DEADLINE} ms`);
});

test("createLeaderWork() gives slices that belong to an earlier namespace to the new one, and a removed owner back", async () => {
  const { inventory, startLeader, until, slices, put, writes } = await start();
  const isOwnedBy = (uid: string) => slices().every(({ metadata }) => metadata.ownerReferences?.[0]?.uid === uid);
  inventory.set(inventoryOf(server("s:1", [gpu("a")])));
  const before = startLeader();
  await until((list) => list.length === 1 && isOwnedBy(OWNER.uid));
  before.stop();
  await before.ended;
  startLeader(undefined, { ...OWNER, uid: "2" });
  const [slice] = await until(() => isOwnedBy("2"));
  put(`${RESOURCE_SLICES}/bitfusion-0`, { ...slice, metadata: { name: "bitfusion-0" } });
  await until(() => isOwnedBy("2"));
  expect(writes.current).toEqual(["POST 201", "PUT 200", "PUT 200"]);
});

test("createLeaderWork() writes nothing before it knows the pool, the slices and the claims", async () => {
  const claims = Promise.withResolvers<undefined>();
  const watching = Promise.withResolvers<void>();
  const { inventory, startLeader, until, writes } = await start(({ url }) => {
    if (url.includes("resourceslices?") && url.includes("watch")) watching.resolve();
    return url.includes(RESOURCE_CLAIMS) ? claims.promise : undefined;
  });
  startLeader();
  inventory.set(inventoryOf(server("s:1", [gpu("a")])));
  await watching.promise; // the slices are known
  expect(writes.current).toEqual([]);
  claims.resolve(undefined);
  await until((list) => names(list).length === 1);
});

test("createLeaderWork() writes each change once", async () => {
  const { inventory, startLeader, until, writes } = await start();
  startLeader();
  inventory.set(inventoryOf(server("s:1", [gpu("a")])));
  await until((list) => names(list).length === 1);
  inventory.set(inventoryOf(server("s:1", [gpu("a")]))); // no change
  inventory.set(inventoryOf(server("s:1", [gpu("a", { healthy: false })])));
  await until((list) => list[0]?.spec.devices?.[0]?.taints !== undefined);
  expect(writes.current).toEqual(["POST 201", "PUT 200"]);
});

test("createLeaderWork() does not overwrite a later change by another controller: it plans again", async () => {
  let updates = 0;
  const { inventory, startLeader, until, labelFirstSlice } = await start(({ method }) => {
    if (method !== "PUT" || updates++ > 0) return undefined;
    labelFirstSlice();
    return undefined;
  });
  startLeader();
  inventory.set(inventoryOf(server("s:1", [gpu("a")])));
  await until((list) => names(list).length === 1);
  inventory.set(inventoryOf(server("s:1", [gpu("a"), gpu("b")])));
  const [slice] = await until((list) => names(list).length === 2);
  expect(slice?.metadata).toMatchObject({ labels: { by: "another" } });
  expect(updates).toBe(2);
});

test("createLeaderWork() removes a slice only as it was seen: it plans again if another writer has changed it", async () => {
  let removals = 0;
  const { inventory, startLeader, until, labelFirstSlice, writes } = await start(({ method }) => {
    if (method !== "DELETE" || removals++ > 0) return undefined;
    labelFirstSlice();
    return undefined;
  });
  startLeader();
  inventory.set(inventoryOf(server("s:1", [gpu("a")])));
  await until((list) => names(list).length === 1);
  inventory.set(inventoryOf(server("s:1", [])));
  await until((list) => list.length === 0);
  expect(writes.current).toEqual(["POST 201", "DELETE 409", "DELETE 200"]);
});

test("createLeaderWork() leaves the slices of other drivers alone", async () => {
  const { inventory, startLeader, until, put, slices, writes } = await start();
  const other = toResourceSlice({ name: "other", devices: [] });
  put(`${RESOURCE_SLICES}/other`, { ...other, spec: { ...other.spec, driver: "gpu.example.com" } });
  startLeader();
  inventory.set(inventoryOf(server("s:1", [gpu("a")])));
  await until((list) => names(list).length === 1);
  expect(writes.current).toEqual(["POST 201"]);
  expect(slices().map(({ metadata }) => metadata.name)).toEqual(["other", "bitfusion-0"]);
});

test("createLeaderWork() removes a GPU that left the pool once its last claim is deleted, and ignores other deletions", async () => {
  const { inventory, startLeader, until, put, remove, writes } = await start();
  const { work } = startLeader();
  const hold = (name: string, device: string) =>
    put(`${TEAM}/${name}`, claim(name, { allocated: { [`bitfusion-0/${device}`]: 50 } }) as never);
  inventory.set(inventoryOf(server("s:1", [gpu("a"), gpu("b")])));
  await until((list) => names(list).length === 2);
  hold("c", A);
  hold("d", B);
  await waitUntil(() => work.supply()?.filter(({ held }) => held === 50).length === 2);
  inventory.set(inventoryOf(server("s:1", [gpu("b")])));
  await until((list) => devicesOf(list).get(`bitfusion-0/${A}`)?.taints?.[0]?.key === "bitfusion.io/gone");
  remove(`${TEAM}/d`);
  await waitUntil(() => work.supply()?.some(({ held }) => held === 0));
  remove(`${TEAM}/c`);
  await until((list) => names(list).length === 1);
  expect(writes.current).toHaveLength(3);
});

test("createLeaderWork() writes four slices at the same time", async () => {
  const four = Promise.withResolvers<void>();
  let [open, most] = [0, 0];
  const { inventory, startLeader, until } = await start(async ({ method, url }) => {
    if (method !== "POST" || !url.includes("resourceslices")) return undefined;
    most = Math.max(most, ++open);
    if (open === 4) four.resolve();
    await four.promise;
    open -= 1;
    return undefined;
  });
  startLeader();
  const gpus = Array.from({ length: 5 * 64 }, (_, index) => gpu(`gpu-${index}`));
  inventory.set(inventoryOf(server("s:1", gpus)));
  await until((list) => list.length === 5);
  expect(most).toBe(4);
});

test("createLeaderWork() retries a write that fails", async () => {
  const failures = [500, 409, 503];
  const { inventory, startLeader, until, writes, lines } = await start(({ method }) => {
    const status = method === "POST" ? failures.shift() : undefined;
    return status ? new Response(null, { status }) : undefined;
  });
  startLeader();
  inventory.set(inventoryOf(server("s:1", [gpu("a")])));
  await until((list) => names(list).length === 1);
  expect(writes.current).toEqual(["POST 500", "POST 409", "POST 503", "POST 201"]);
  expect(lines.filter((line) => line.startsWith("Cannot write"))).toHaveLength(3);
});

test("createLeaderWork() writes the other slices while the API server rejects one", async () => {
  const { inventory, startLeader, until, writes } = await start((request) =>
    request.method === "POST" && writes.current?.length === 0 ? new Response("invalid", { status: 422 }) : undefined,
  );
  startLeader();
  const gpus = Array.from({ length: 130 }, (_, index) => gpu(`gpu-${index}`));
  inventory.set(inventoryOf(server("s:1", gpus)));
  await until((list) => names(list).length === 66);
  await until((list) => names(list).length === 130);
  expect(writes.current).toEqual(["POST 422", "POST 201", "POST 201", "POST 201"]);
});

test("createLeaderWork() writes a slice once, even if the API server adds defaults", async () => {
  const { inventory, startLeader, until, writes } = await start(undefined, {
    defaults: (object) => {
      const { spec } = object as unknown as ResourceSlice;
      const devices = spec.devices?.map((device) => ({ ...device, allNodes: false, bindsToNode: false }));
      return { ...object, spec: { ...spec, devices } } as never;
    },
  });
  const { metrics } = startLeader();
  inventory.set(inventoryOf(server("s:1", [gpu("a")])));
  await until((list) => names(list).length === 1);
  inventory.set(inventoryOf(server("s:1", [gpu("a", { healthy: false })])));
  await until((list) => list[0]?.spec.devices?.[0]?.taints !== undefined);
  expect(writes.current).toEqual(["POST 201", "PUT 200"]);
  expect((await metrics.writeFailures.get()).values).toEqual([]);
});

test("createLeaderWork() backs off if the API server never stores a slice as it was written", async () => {
  const { inventory, startLeader, writes, lines } = await start(undefined, {
    defaults: (object) => ({ ...object, spec: { ...(object as unknown as ResourceSlice).spec, devices: [] } }) as never,
  });
  startLeader();
  inventory.set(inventoryOf(server("s:1", [gpu("a")])));
  for await (const list of writes.changes(AbortSignal.timeout(DEADLINE))) if (list.length === 3) break;
  expect(lines).toContain("Cannot write a ResourceSlice: The API server stores another slice than was written");
});

test("two controllers that both act as leader never publish a GPU twice", async () => {
  const { inventory, startLeader, until, slices, writes } = await start();
  const both = [startLeader(), startLeader()];
  const ids = Array.from({ length: 130 }, (_, index) => `gpu-${index}`);
  inventory.set(
    inventoryOf(
      server(
        "s:1",
        ids.map((id) => gpu(id)),
      ),
    ),
  );
  await until((list) => names(list).length === 130);
  inventory.set(
    inventoryOf(
      server(
        "s:1",
        ids.map((id) => gpu(id, { healthy: false })),
      ),
    ),
  );
  await until((list) => [...devicesOf(list).values()].every(({ taints }) => taints));
  for (const { stop } of both) stop();
  await Promise.all(both.map(({ ended }) => ended));
  expect(new Set(names(slices()).map((key) => key.split("/")[1])).size).toBe(130);
  expect(writes.current?.filter((write) => /20\d/.test(write))).toHaveLength(6); // three slices, twice
});

test("a new leader finishes the work of one that was stopped halfway", async () => {
  let remaining = 2;
  const { inventory, startLeader, until } = await start(({ method }) => {
    if (method === "POST" && remaining-- <= 0) first.stop(); // while it creates its third slice
    return undefined;
  });
  const first = startLeader();
  const ids = Array.from({ length: 190 }, (_, index) => `gpu-${index}`);
  inventory.set(
    inventoryOf(
      server(
        "s:1",
        ids.map((id) => gpu(id)),
      ),
    ),
  );
  await first.ended;
  startLeader();
  const list = await until((slices) => names(slices).length === 190);
  for (const { spec } of list) expect(spec.pool).toMatchObject({ generation: 1, resourceSliceCount: 1 });
});

test("createLeaderWork() writes few slices for a server that changes its GPUs as fast as it can", async () => {
  let changes = 0;
  await using server = await serveGrpc({
    listen: { port: 0, host: "127.0.0.1", tls: TEST_SERVER },
    drain: 50,
    routes: (router) =>
      router.service(PoolService, {
        async *watchInventory(_, { signal }) {
          while (!signal.aborted) {
            const healthy = changes++ % 2 === 0;
            yield { inventory: { hostname: "a", gpus: [{ id: "a", model: "T4", memoryMb: 16_000n, healthy }] } };
            await new Promise(setImmediate);
          }
        },
      }),
  });
  const { startLeader, writes } = await start();
  const source = createPoolSource([{ address: `127.0.0.1:${server.port}` }], {
    interval: 6000,
    token: createLatest<Token>({ tls: TEST_CLIENT }).changes,
    log: silentLog,
  });
  startLeader(source);
  let first: number | undefined;
  for await (const { length } of writes.changes(AbortSignal.timeout(10_000))) {
    if (length > 0) first ??= performance.now();
    if (length >= 30) break;
  }
  // A burst of 16 messages, and then 16 in a second. Without the limit, 30 writes take some 100 ms.
  expect(performance.now() - (first ?? 0)).toBeGreaterThan(700);
  expect(writes.current?.length).toBeLessThan(40);
  expect(changes).toBeGreaterThan(60);
});

test.each([
  ["deleted", false],
  ["deallocated", true],
])("createLeaderWork() ends the lease of a claim at once when it is %s", async (_, remains) => {
  await using pool = await startPoolServer();
  const { inventory, startLeader, put, remove } = await start();
  const held = claim("c", { allocated: { [`bitfusion-0/${deviceName("server/0")}`]: 60 } });
  const metadata = { ...held.metadata, uid: "uid-of-c" };
  put(`${TEAM}/c`, { ...held, metadata });
  const { work } = startLeader();
  inventory.set(inventoryOf(server(pool.address)));
  await waitUntil(() => work.supply() !== undefined);
  const resourceClaim = { namespace: "team", name: "c", uid: "uid-of-c", node: "node-1", shareIds: [] };
  const owner = { namespace: "team", pod: "train", container: "main" };
  pool.ledger.claim({ holder: TEST_HOLDER, owner, share: { gpus: 1, percent: 60 }, resourceClaim });
  if (remains) put(`${TEAM}/c`, { ...held, metadata, status: {} });
  else remove(`${TEAM}/c`);
  await waitUntil(() => pool.ledger.leases().length === 0);
});

test("the metrics show units by server and state, waiting claims and writes", async () => {
  const { inventory, startLeader, until, put } = await start();
  const { work, metrics } = startLeader();
  put(`${TEAM}/holds`, claim("holds", { allocated: { [`bitfusion-0/${A}`]: 30 } }) as never);
  put(`${TEAM}/waits`, claim("waits") as never);
  const unreachable = server("t:1", [gpu("b")], { reachable: false });
  inventory.set(inventoryOf(server("s:1", [gpu("a")]), unreachable));
  await until((list) => names(list).length === 2);
  await waitUntil(() => work.supply()?.length === 2 && work.waitingClaims().length === 1);
  const lines = (await metrics.registry.metrics()).split("\n");
  const [, wait] = /^bitfusion_controller_longest_wait_seconds (\d+\.\d+)$/m.exec(lines.join("\n")) ?? [];
  expect(Number(wait)).toBeCloseTo((Date.now() - Date.parse("2026-11-01T00:00:00Z")) / 1000, -1);
  expect(lines.filter((line) => /^bitfusion_controller_(units|waiting|slice_writes)/.test(line))).toEqual([
    'bitfusion_controller_units{server="s:1",state="held"} 30',
    'bitfusion_controller_units{server="s:1",state="free"} 70',
    'bitfusion_controller_units{server="s:1",state="tainted"} 0',
    'bitfusion_controller_units{server="t:1",state="held"} 0',
    'bitfusion_controller_units{server="t:1",state="free"} 0',
    'bitfusion_controller_units{server="t:1",state="tainted"} 100',
    "bitfusion_controller_waiting_claims 1",
    'bitfusion_controller_slice_writes_total{operation="create"} 1',
  ]);
});

test.each<[what: string, respond: (slice: ResourceSlice) => Response, missing: string | undefined]>([
  ["supports everything", (slice) => Response.json(slice), undefined],
  [
    "does not support shared devices",
    ({ spec }) => Response.json({ spec: { ...spec, devices: [{ name: "x" }] } }),
    "devices with shared capacity (Kubernetes 1.36 and later)",
  ],
  [
    "does not support device taints",
    ({ spec }) => Response.json({ spec: { ...spec, devices: [{ name: "x", allowMultipleAllocations: true }] } }),
    "device taints (Kubernetes 1.36 and later)",
  ],
  [
    "does not serve ResourceSlices",
    () => new Response("404 page not found", { status: 404 }),
    "resource.k8s.io/v1 (Kubernetes 1.34 and later)",
  ],
])("findMissing() reports what is missing if the API server %s", async (_, respond, missing) => {
  const { request } = await start((call) =>
    call.method === "POST" ? call.json().then((slice) => respond(slice as ResourceSlice)) : undefined,
  );
  expect(await findMissing(request, AbortSignal.timeout(DEADLINE))).toBe(missing);
});

test("findMissing() writes nothing", async () => {
  const { request, objects } = await start();
  expect(await findMissing(request, AbortSignal.timeout(DEADLINE))).toBeUndefined();
  expect(objects.size).toBe(0);
});
