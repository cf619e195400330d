import { afterEach, expect, test } from "bun:test";
import { RESOURCE_CLAIMS } from "../kubernetes/resource_claim.ts";
import { RESOURCE_SLICES, type ResourceSlice } from "../kubernetes/resource_slice.ts";
import { connectWith, kubeconfigOf, startSimulatedApiServer } from "../kubernetes/simulated/api_server.ts";
import { createObjectStore } from "../kubernetes/simulated/objects.ts";
import { deviceName } from "../pool/device.ts";
import type { Inventory } from "../pool/inventory.ts";
import { createLatest } from "../program/latest.ts";
import { silentLog } from "../program/testing.ts";
import { lead } from "./lead.ts";
import { createControllerMetrics } from "./metrics.ts";
import { untilOffered } from "./offer.ts";
import type { State } from "./state.ts";
import { claim, devicesOf, gpu, inventoryOf, server } from "./testing.ts";

const A = deviceName("a");
const TEAM = "/apis/resource.k8s.io/v1/namespaces/team/resourceclaims";
const DEADLINE = 4000;

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** An API server, and controllers that lead. */
async function start(onRequest?: (request: Request) => Response | undefined | Promise<Response | undefined>) {
  const store = createObjectStore();
  const writes = createLatest<readonly string[]>([]);
  const api = startSimulatedApiServer({
    async onRequest(request) {
      const answer = (await onRequest?.(request)) ?? (await store.answer(request));
      if (request.method !== "GET" && request.url.includes("resourceslices")) {
        writes.set([...(writes.current ?? []), `${request.method} ${answer?.status}`]);
      }
      return answer;
    },
  });
  cleanups.push(() => api[Symbol.asyncDispose]());
  const { request } = await connectWith(kubeconfigOf(api.url));
  const inventory = createLatest<Inventory>();
  const slices = () =>
    [...store.objects].flatMap(([path, slice]) =>
      path.startsWith(`${RESOURCE_SLICES}/`) ? [slice as unknown as ResourceSlice] : [],
    );

  function startLeader() {
    const stop = new AbortController();
    const state = createLatest<State>({});
    const metrics = createControllerMetrics(() => state.current ?? {});
    const source = (signal: AbortSignal) => inventory.changes(signal);
    const record = async () => {};
    const ended = lead({ request, inventory: source, state, record, log: silentLog, metrics }, stop.signal);
    cleanups.push(() => stop.abort());
    return { state, metrics, ended, stop: () => stop.abort() };
  }
  /** Waits for the slices to be as expected; looks at each write. */
  async function until(isExpected: (slices: readonly ResourceSlice[]) => boolean): Promise<readonly ResourceSlice[]> {
    for await (const _ of writes.changes(AbortSignal.timeout(DEADLINE))) if (isExpected(slices())) return slices();
    throw new Error(`Waited ${DEADLINE} ms: ${JSON.stringify(slices())}`);
  }
  return { ...store, ...api, request, inventory, slices, writes, startLeader, until };
}

const names = (slices: readonly ResourceSlice[]) => [...devicesOf(slices).keys()];

test("lead() publishes the pool, follows it, and takes a slice back that somebody has changed or removed", async () => {
  const { inventory, startLeader, until, put, remove, slices } = await start();
  startLeader();
  inventory.set(inventoryOf(server("s:1", [gpu("a")])));
  await until((list) => names(list).includes(`bitfusion-0/${A}`));
  inventory.set(inventoryOf(server("s:1", [gpu("a"), gpu("b")])));
  await until((list) => names(list).length === 2);
  const [slice] = slices() as [ResourceSlice];
  put(`${RESOURCE_SLICES}/bitfusion-0`, { ...slice, spec: { ...slice.spec, devices: [] } } as never);
  await until((list) => names(list).length === 2);
  remove(`${RESOURCE_SLICES}/bitfusion-0`); // perhaps before the watch has told of it
  await until((list) => names(list).length === 2);
});

test("lead() writes nothing before it knows the pool, the slices and the claims", async () => {
  const claims = Promise.withResolvers<undefined>();
  const { inventory, startLeader, until, writes } = await start(({ url }) =>
    url.includes(RESOURCE_CLAIMS) ? claims.promise : undefined,
  );
  const { state } = startLeader();
  inventory.set(inventoryOf(server("s:1", [gpu("a")])));
  for await (const { slices, inventory } of state.changes(AbortSignal.timeout(DEADLINE)))
    if (slices && inventory) break;
  expect(writes.current).toEqual([]);
  claims.resolve(undefined);
  await until((list) => names(list).length === 1);
});

test("lead() writes each change once", async () => {
  const { inventory, startLeader, until, writes } = await start();
  startLeader();
  inventory.set(inventoryOf(server("s:1", [gpu("a")])));
  await until((list) => names(list).length === 1);
  inventory.set(inventoryOf(server("s:1", [gpu("a")]))); // nothing new
  inventory.set(inventoryOf(server("s:1", [gpu("a", { healthy: false })])));
  await until((list) => list[0]?.spec.devices?.[0]?.taints !== undefined);
  expect(writes.current).toEqual(["POST 201", "PUT 200"]);
});

test("lead() does not take back what another controller has written since: it looks again", async () => {
  let refused = 0;
  const { inventory, startLeader, until, objects, put } = await start(({ method }) => {
    if (method !== "PUT" || refused++ > 0) return undefined;
    put(`${RESOURCE_SLICES}/bitfusion-0`, {
      ...objects.get(`${RESOURCE_SLICES}/bitfusion-0`),
      metadata: { labels: { by: "another" } },
    });
    return undefined;
  });
  startLeader();
  inventory.set(inventoryOf(server("s:1", [gpu("a")])));
  await until((list) => names(list).length === 1);
  inventory.set(inventoryOf(server("s:1", [gpu("a"), gpu("b")])));
  const [slice] = await until((list) => names(list).length === 2);
  expect(slice?.metadata).toMatchObject({ labels: { by: "another" } });
  expect(refused).toBe(2);
});

test("lead() removes a GPU that is gone once its last claim has ended", async () => {
  const { inventory, startLeader, until, put, remove } = await start();
  const { state } = startLeader();
  inventory.set(inventoryOf(server("s:1", [gpu("a"), gpu("b")])));
  await until((list) => names(list).length === 2);
  const { metadata: _, ...held } = claim("c", { allocated: { [`bitfusion-0/${A}`]: 50 } });
  put(`${TEAM}/c`, held as never);
  for await (const { claims } of state.changes(AbortSignal.timeout(DEADLINE))) if (claims?.size) break;
  inventory.set(inventoryOf(server("s:1", [gpu("b")])));
  await until((list) => devicesOf(list).get(`bitfusion-0/${A}`)?.taints?.[0]?.key === "bitfusion.io/gone");
  remove(`${TEAM}/c`);
  await until((list) => names(list).length === 1);
});

test("lead() goes on after the API server has refused or lost a write", async () => {
  const failures = [500, 409, 503];
  const { inventory, startLeader, until, writes } = await start(({ method }) => {
    const status = method === "POST" ? failures.shift() : undefined;
    return status ? new Response(null, { status }) : undefined;
  });
  startLeader();
  inventory.set(inventoryOf(server("s:1", [gpu("a")])));
  await until((list) => names(list).length === 1);
  expect(writes.current).toEqual(["POST 500", "POST 409", "POST 503", "POST 201"]);
});

test("two controllers that both believe to lead never have a GPU twice", async () => {
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

test("a controller that takes over from one that has died in the middle finishes its work", async () => {
  let left = 2;
  const { inventory, startLeader, until } = await start(({ method }) => {
    if (method === "POST" && left-- <= 0) first.stop(); // its third slice is never asked for
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

test("the metrics tell units by server and state, claims that wait, and writes; nothing of a pool that another leads", async () => {
  const { inventory, startLeader, until, put } = await start();
  const { state, metrics, stop, ended } = startLeader();
  const counted = Promise.withResolvers<void>();
  const count = metrics.writes.inc.bind(metrics.writes);
  const inc = (labels: { operation: string }) => {
    count(labels);
    counted.resolve();
  };
  Object.assign(metrics.writes, { inc });
  put(`${TEAM}/holds`, claim("holds", { allocated: { [`bitfusion-0/${A}`]: 30 } }) as never);
  put(`${TEAM}/waits`, claim("waits") as never);
  const away = server("t:1", [gpu("b")], { reachable: false });
  inventory.set(inventoryOf(server("s:1", [gpu("a")]), away));
  await until((list) => names(list).length === 2);
  for await (const { slices, claims } of state.changes(AbortSignal.timeout(DEADLINE)))
    if (slices?.size && claims?.size === 2) break;
  await counted.promise; // the answer to the write may come after what the watch tells of it
  const told = (text: string) =>
    text.split("\n").filter((line) => /^bitfusion_controller_(units|waiting|slice)/.test(line));
  expect(told(await metrics.registry.metrics())).toEqual([
    'bitfusion_controller_units{server="s:1",state="held"} 30',
    'bitfusion_controller_units{server="s:1",state="free"} 70',
    'bitfusion_controller_units{server="s:1",state="tainted"} 0',
    'bitfusion_controller_units{server="t:1",state="held"} 0',
    'bitfusion_controller_units{server="t:1",state="free"} 0',
    'bitfusion_controller_units{server="t:1",state="tainted"} 100',
    "bitfusion_controller_waiting_claims 1",
    'bitfusion_controller_slice_writes_total{operation="create"} 1',
  ]);
  stop();
  await ended;
  expect(told(await metrics.registry.metrics())).not.toContainEqual(expect.stringContaining("server="));
});

test.each<[what: string, answer: (slice: ResourceSlice) => Response, missing: string | undefined]>([
  ["keeps all", (slice) => Response.json(slice), undefined],
  [
    "has no shared devices",
    ({ spec }) => Response.json({ spec: { ...spec, devices: [{ name: "x" }] } }),
    "devices that are shared by capacity (Kubernetes 1.36 and later)",
  ],
  [
    "has no taints",
    ({ spec }) => Response.json({ spec: { ...spec, devices: [{ name: "x", allowMultipleAllocations: true }] } }),
    "taints of devices (Kubernetes 1.36 and later)",
  ],
  [
    "has no ResourceSlices",
    () => new Response("404 page not found", { status: 404 }),
    "resource.k8s.io/v1 (Kubernetes 1.34 and later)",
  ],
])("untilOffered() of an API server that %s", async (_, answer, missing) => {
  const { request } = await start((call) =>
    call.method === "POST" ? call.json().then((slice) => answer(slice as ResourceSlice)) : undefined,
  );
  const stop = new AbortController();
  const told: string[] = [];
  const onMissing = (what: string) => {
    told.push(what);
    stop.abort();
  };
  await untilOffered({ request, log: silentLog, onMissing, signal: stop.signal });
  expect(told).toEqual(missing === undefined ? [] : [missing]);
});

test("untilOffered() writes nothing", async () => {
  const { request, objects } = await start();
  await untilOffered({ request, log: silentLog, onMissing: () => {}, signal: AbortSignal.timeout(DEADLINE) });
  expect(objects.size).toBe(0);
});
