import { afterEach, expect, test } from "bun:test";
import { RESOURCE_SLICES } from "../../kubernetes/objects/resource_slice.ts";
import { connectWithKubeconfig, kubeconfigOf, startSimulatedApiServer } from "../../kubernetes/simulated/api_server.ts";
import { silentLog } from "../../program/testing.ts";
import { followPublishedPool } from "./published_pool.ts";

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** A slice with these devices, or those of GPUs with these ids. */
function slice(name: string, devices: readonly (string | object)[], poolGpus?: string) {
  return {
    metadata: { name, ...(poolGpus === undefined ? {} : { annotations: { "bitfusion.io/pool-gpus": poolGpus } }) },
    spec: {
      driver: "bitfusion.io",
      devices: devices.map((device) =>
        typeof device === "string" ? { attributes: { id: { string: device } } } : device,
      ),
    },
  };
}

/** A device with a taint. */
function tainted(id: string, key: string) {
  return { attributes: { id: { string: id } }, taints: [{ key, effect: "NoSchedule" }] };
}

type Slice = ReturnType<typeof slice>;

/** Follows the pool on an API server with these slices. `next` returns the ids of the GPUs. */
async function follow(...slices: Slice[]) {
  const api = startSimulatedApiServer();
  cleanups.push(() => api[Symbol.asyncDispose]());
  const put = (each: Slice) => api.store.put(`${RESOURCE_SLICES}/${each.metadata.name}`, each);
  for (const each of slices) put(each);
  const { request } = await connectWithKubeconfig(kubeconfigOf(api.url));
  const stop = new AbortController();
  cleanups.push(() => stop.abort());
  const signal = AbortSignal.any([stop.signal, AbortSignal.timeout(4000)]);
  const pools = followPublishedPool({ request, log: silentLog }, signal);
  async function next(): Promise<(string | undefined)[] | undefined> {
    const { done, value } = await pools.next();
    if (done) throw new Error("The pool is not followed any more");
    return value?.map(({ id }) => id).sort();
  }
  return { next, put, remove: (name: string) => api.store.remove(`${RESOURCE_SLICES}/${name}`) };
}

test("followPublishedPool() yields the attributes of all GPUs", async () => {
  const api = startSimulatedApiServer();
  cleanups.push(() => api[Symbol.asyncDispose]());
  const attributes = { id: { string: "a" }, memoryMb: { int: 16_000 }, hasRdma: { bool: false } };
  api.store.put(`${RESOURCE_SLICES}/bitfusion-0`, slice("bitfusion-0", [{ name: "gpu-a", attributes }], "1"));
  const { request } = await connectWithKubeconfig(kubeconfigOf(api.url));
  const stop = new AbortController();
  for await (const pool of followPublishedPool({ request, log: silentLog }, stop.signal)) {
    expect(pool).toEqual([{ id: "a", memoryMb: 16_000, hasRdma: false }]);
    break;
  }
});

test.each<[what: string, slices: Slice[], pool: string[] | undefined]>([
  ["there is no slice", [], undefined],
  ["no slice tells how many GPUs the pool has", [slice("s-0", ["a"]), slice("s-1", ["b"])], undefined],
  ["a slice is missing", [slice("s-0", ["a"], "2")], undefined],
  ["two slices tell different numbers", [slice("s-0", ["a"], "2"), slice("s-1", ["b"], "1")], undefined],
  ["the number is none", [slice("s-0", ["a"], "many")], undefined],
  ["all slices are there", [slice("s-0", ["a"], "2"), slice("s-1", ["b"])], ["a", "b"]],
  [
    "GPUs cannot be used now",
    [slice("s-0", [tainted("a", "bitfusion.io/unreachable"), tainted("b", "bitfusion.io/unhealthy")], "2")],
    ["a", "b"],
  ],
  ["a GPU has left the pool", [slice("s-0", ["a", tainted("b", "bitfusion.io/gone")], "1")], ["a"]],
])("followPublishedPool() decides whether it knows the whole pool if %s", async (_, slices, pool) => {
  const { next } = await follow(...slices);
  expect(await next()).toEqual(pool);
});

test("followPublishedPool() follows each change", async () => {
  const { next, put, remove } = await follow(slice("s-0", ["a"], "1"));
  expect(await next()).toEqual(["a"]);
  put(slice("s-0", ["a"], "2"));
  expect(await next()).toBeUndefined(); // the second slice is not written yet
  put(slice("s-1", ["b"]));
  expect(await next()).toEqual(["a", "b"]);
  remove("s-1");
  expect(await next()).toBeUndefined();
});

test("followPublishedPool() ignores the slices of other drivers", async () => {
  const other = slice("other", ["x"], "7");
  const { next } = await follow(slice("s-0", ["a"], "1"), {
    ...other,
    spec: { ...other.spec, driver: "gpu.example.com" },
  });
  expect(await next()).toEqual(["a"]);
});
