import { afterEach, expect, test } from "bun:test";
import { silentLog } from "../program/testing.ts";
import { connectWith, kubeconfigOf, startSimulatedApiServer } from "./simulated/api_server.ts";
import { createObjectStore } from "./simulated/objects.ts";
import { type ApiObject, followObjects, type Objects } from "./watch.ts";

const SLICES = "/apis/resource.k8s.io/v1/resourceslices";
const CLAIMS = "/apis/resource.k8s.io/v1/namespaces/team/resourceclaims";

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** Follows a collection, and gives what it tells next that `matches`. */
async function follow(path: string, onRequest?: (request: Request) => Response | undefined) {
  const store = createObjectStore();
  const api = startSimulatedApiServer({ onRequest: (request) => onRequest?.(request) ?? store.answer(request) });
  cleanups.push(() => api[Symbol.asyncDispose]());
  const { request } = await connectWith(kubeconfigOf(api.url));
  const stop = new AbortController();
  const signal = AbortSignal.any([stop.signal, AbortSignal.timeout(4000)]);
  const told = followObjects<ApiObject>({ request, path, log: silentLog }, signal);
  cleanups.push(() => stop.abort());
  async function until(matches: (objects: Objects<ApiObject>) => boolean): Promise<Objects<ApiObject>> {
    for (;;) {
      const { done, value } = await told.next();
      if (done) throw new Error("Nothing more is told");
      if (matches(value)) return value;
    }
  }
  return { ...store, requests: api.requests, stop, until, next: () => until(() => true) };
}

const lists = (requests: readonly string[]) => requests.filter((request) => request === `GET ${SLICES}`).length;

test("followObjects() tells all objects, then each that is made, changed and removed", async () => {
  const { put, remove, until, next } = await follow(SLICES);
  put(`${SLICES}/a`, { metadata: { labels: { x: "1" } } });
  expect([...(await next()).keys()]).toEqual(["a"]);
  put(`${SLICES}/b`, {});
  expect([...(await next()).keys()]).toEqual(["a", "b"]);
  put(`${SLICES}/a`, { metadata: { labels: { x: "2" } } });
  const changed = await until((objects) => objects.get("a")?.metadata.resourceVersion === "3");
  expect(changed.get("a")).toMatchObject({ metadata: { labels: { x: "2" } } });
  remove(`${SLICES}/a`);
  expect([...(await next()).keys()]).toEqual(["b"]);
});

test("followObjects() leaves what it has told as it was", async () => {
  const { put, next } = await follow(SLICES);
  const before = await next();
  put(`${SLICES}/a`, {});
  await next();
  expect(before.size).toBe(0);
});

test("followObjects() tells objects of all namespaces by namespace and name", async () => {
  const { put, next } = await follow("/apis/resource.k8s.io/v1/resourceclaims");
  put(`${CLAIMS}/a`, {});
  expect([...(await next()).keys()]).toEqual(["team/a"]);
});

test("followObjects() misses nothing between two watches, and lists only once for both", async () => {
  const { put, endWatches, until, next, requests } = await follow(SLICES);
  await next();
  put(`${SLICES}/a`, {});
  await next();
  endWatches();
  put(`${SLICES}/b`, {});
  await until((objects) => objects.has("b"));
  expect(lists(requests)).toBe(3); // a list and two watches
});

test("followObjects() lists again when its version is no longer known", async () => {
  const { put, remove, endWatches, until, next } = await follow(SLICES);
  put(`${SLICES}/a`, {});
  await next();
  remove(`${SLICES}/a`);
  put(`${SLICES}/b`, {});
  endWatches({ forget: true });
  const told = await until((objects) => objects.has("b") && !objects.has("a"));
  expect([...told.keys()]).toEqual(["b"]);
});

test("followObjects() goes on after the API server was away, or spoke garbage", async () => {
  const answers = [new Response(null, { status: 503 }), new Response("not JSON"), new Response("")];
  const { put, next } = await follow(SLICES, () => answers.shift());
  put(`${SLICES}/a`, {});
  expect([...(await next()).keys()]).toEqual(["a"]);
});

test("followObjects() ends with its signal", async () => {
  const { next, stop } = await follow(SLICES);
  await next();
  stop.abort();
  expect(await next().then(String, String)).toBe("Error: Nothing more is told");
});
