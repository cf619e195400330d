import { afterEach, expect, test } from "bun:test";
import { connectWithKubeconfig, kubeconfigOf, startSimulatedApiServer } from "../../kubernetes/simulated/api_server.ts";
import { silentLog } from "../../program/testing.ts";
import { followPool } from "./follow.ts";
import type { PoolState } from "./pool_objects.ts";

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const SLICES = "/apis/resource.k8s.io/v1/resourceslices";

async function start(onRequest?: (request: Request) => Response | undefined) {
  const api = startSimulatedApiServer({ onRequest });
  cleanups.push(() => api[Symbol.asyncDispose]());
  const { request } = await connectWithKubeconfig(kubeconfigOf(api.url));
  const stop = new AbortController();
  cleanups.push(() => stop.abort());
  const states = followPool({ request, log: silentLog, retryAfter: 1 }, stop.signal)[Symbol.asyncIterator]();
  /** The next state that meets the condition. */
  async function until(condition: (state: PoolState) => boolean): Promise<PoolState> {
    for (;;) {
      const { value, done } = await states.next();
      if (done) throw new Error("No such state came");
      if (condition(value)) return value;
    }
  }
  return { api, until };
}

test("followPool() yields the whole pool first, and then each change; other lists stay the same", async () => {
  const { api, until } = await start();
  api.store.put(`${SLICES}/bitfusion-0`, { spec: { driver: "bitfusion.io" } });
  const first = await until(() => true);
  expect(first.objects.slices).toHaveLength(1);
  api.store.put("/api/v1/namespaces/team/pods/train", { spec: { containers: [], resourceClaims: [{ name: "gpu" }] } });
  const second = await until(({ objects }) => objects.pods?.length === 1);
  expect(second.objects.slices).toBe(first.objects.slices);
  api.store.remove("/api/v1/namespaces/team/pods/train");
  await until(({ objects }) => objects.pods?.length === 0);
});

test("followPool() tries a resource again that it could not read", async () => {
  let isAllowed = false;
  const { api, until } = await start(({ url }) => {
    const isRefused = !isAllowed && new URL(url).pathname === SLICES;
    return isRefused ? Response.json({ message: "no" }, { status: 403 }) : undefined;
  });
  api.store.put(`${SLICES}/bitfusion-0`, { spec: { driver: "bitfusion.io" } });
  expect((await until(() => true)).unread.map(({ kind }) => kind)).toEqual(["slices"]);
  isAllowed = true;
  const state = await until(({ unread }) => unread.length === 0);
  expect(state.objects.slices).toHaveLength(1);
});

test("followPool() keeps what it has read while watches fail, and says so until they work again", async () => {
  let isBroken = false;
  const { api, until } = await start(() => (isBroken ? Response.json({}, { status: 503 }) : undefined));
  api.store.put(`${SLICES}/bitfusion-0`, { spec: { driver: "bitfusion.io" } });
  await until(() => true);
  isBroken = true;
  api.store.endWatches({ forget: true });
  const broken = await until(({ unread }) => unread.some(({ kind }) => kind === "slices"));
  expect(broken.objects.slices).toHaveLength(1);
  isBroken = false;
  await until(({ unread }) => unread.length === 0);
});
