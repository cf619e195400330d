import { afterEach, expect, test } from "bun:test";
import { type Backoff, createBackoff } from "../program/backoff.ts";
import { createRecordingLog } from "../program/testing.ts";
import { connectWithKubeconfig, kubeconfigOf, startSimulatedApiServer } from "./simulated/api_server.ts";
import { type ApiObject, watchObjects } from "./watch.ts";

const SLICES = "/apis/resource.k8s.io/v1/resourceslices";
const CLAIMS = "/apis/resource.k8s.io/v1/namespaces/team/resourceclaims";

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

interface Labeled extends ApiObject {
  readonly metadata: ApiObject["metadata"] & { readonly labels?: Readonly<Record<string, string>> };
}

interface Options {
  onRequest?: (request: Request) => Response | undefined;
  backoff?: Backoff;
  duration?: number;
}

/** Watches a collection. Objects are reduced to their label `x`; those with the label `hidden` are left out. */
async function watch(path: string, { onRequest, ...options }: Options = {}) {
  const api = startSimulatedApiServer({ onRequest });
  const { store } = api;
  cleanups.push(() => api[Symbol.asyncDispose]());
  const { request } = await connectWithKubeconfig(kubeconfigOf(api.url));
  const stop = new AbortController();
  const signal = AbortSignal.any([stop.signal, AbortSignal.timeout(4000)]);
  const lines: string[] = [];
  const transform = ({ metadata: { labels = {} } }: Labeled) => ("hidden" in labels ? undefined : (labels.x ?? ""));
  const changes = watchObjects({ request, path, transform, log: createRecordingLog(lines), ...options }, signal);
  cleanups.push(() => stop.abort());
  async function next() {
    const { done, value } = await changes.next();
    if (done) throw new Error("The watch has ended");
    return value.type === "replace" ? { ...value, objects: Object.fromEntries(value.objects) } : value;
  }
  const label = (name: string, x: string) => store.put(`${path}/${name}`, { metadata: { labels: { x } } });
  return { ...store, requests: api.requests, stop, lines, next, label };
}

const countLists = (requests: readonly string[]) => requests.filter((request) => request === `GET ${SLICES}`).length;

test("watchObjects() yields all objects, then each that is created, changed and deleted", async () => {
  const { label, remove, next } = await watch(SLICES);
  label("a", "1");
  expect(await next()).toEqual({ type: "replace", objects: { a: "1" } });
  label("b", "1");
  expect(await next()).toEqual({ type: "put", key: "b", object: "1" });
  label("a", "2");
  expect(await next()).toEqual({ type: "put", key: "a", object: "2" });
  remove(`${SLICES}/a`);
  expect(await next()).toEqual({ type: "delete", key: "a", resourceVersion: "4" });
});

test("watchObjects() yields a deletion when `transform` no longer returns an object", async () => {
  const { label, put, next } = await watch(SLICES);
  put(`${SLICES}/b`, { metadata: { labels: { hidden: "" } } });
  label("a", "1");
  expect(await next()).toEqual({ type: "replace", objects: { a: "1" } });
  put(`${SLICES}/a`, { metadata: { labels: { hidden: "" } } });
  expect(await next()).toEqual({ type: "delete", key: "a", resourceVersion: "3" });
});

test("watchObjects() uses namespace and name as the key of a namespaced object", async () => {
  const { put, next } = await watch("/apis/resource.k8s.io/v1/resourceclaims");
  put(`${CLAIMS}/a`, {});
  expect(await next()).toEqual({ type: "replace", objects: { "team/a": "" } });
});

test("watchObjects() lists in pages", async () => {
  const { label, next, requests } = await watch(SLICES);
  for (let index = 0; index < 1100; index++) label(`slice-${index}`, String(index));
  const change = await next();
  expect(change.type === "replace" && Object.keys(change.objects)).toHaveLength(1100);
  expect(countLists(requests)).toBe(3);
});

test.each([
  ["that the API server ends", false],
  ["whose connection breaks", true],
])("watchObjects() resumes a watch %s, without missing a change and without listing again", async (_, broken) => {
  const { label, endWatches, next, requests, lines } = await watch(SLICES);
  await next();
  label("a", "1");
  await next();
  endWatches({ broken });
  label("b", "1");
  expect(await next()).toEqual({ type: "put", key: "b", object: "1" });
  expect(countLists(requests)).toBe(3); // a list and two watches
  expect(lines).toHaveLength(broken ? 1 : 0);
});

test("watchObjects() lists again when the resource version is too old", async () => {
  const { label, remove, endWatches, next } = await watch(SLICES);
  await next();
  label("a", "1");
  await next();
  remove(`${SLICES}/a`);
  label("b", "1");
  endWatches({ forget: true, broken: true });
  let change = await next();
  while (change.type !== "replace") change = await next(); // events that arrived before the end
  expect(change.objects).toEqual({ b: "1" });
});

test("watchObjects() resumes at the version of a bookmark, and does not yield it", async () => {
  const { label, endWatches, next, requests, put } = await watch(SLICES);
  await next();
  label("a", "1");
  await next();
  put(`${CLAIMS}/a`, {}); // other objects change while this collection is quiet
  endWatches({ forget: true });
  label("b", "1");
  expect(await next()).toEqual({ type: "put", key: "b", object: "1" });
  expect(countLists(requests)).toBe(3); // a list and two watches
});

test("watchObjects() asks the API server to end each watch after a minute", async () => {
  const queries: URLSearchParams[] = [];
  const { label, next } = await watch(SLICES, {
    onRequest: ({ url }) => {
      queries.push(new URL(url).searchParams);
      return undefined;
    },
  });
  await next();
  label("a", "1");
  await next();
  expect(queries[1]?.get("timeoutSeconds")).toBe("60");
});

test("watchObjects() resumes a watch that the API server does not end in time: the connection may be broken", async () => {
  let isSilent = true;
  const { label, next, lines } = await watch(SLICES, {
    duration: 180,
    onRequest: ({ url }) => {
      if (!url.includes("watch=") || !isSilent) return undefined;
      isSilent = false;
      return new Response(new ReadableStream({ start: (controller) => controller.enqueue("\n") }));
    },
  });
  await next();
  label("a", "1");
  expect(await next()).toEqual({ type: "put", key: "a", object: "1" });
  expect(lines[0]).toBe(`Watch interrupted: GET ${SLICES} was not answered within 0.21 s`);
});

test("watchObjects() waits before it resumes a watch that the API server ends at once", async () => {
  const waiting = Promise.withResolvers<void>();
  const over = Promise.withResolvers<void>();
  const wait = () => {
    waiting.resolve();
    return over.promise;
  };
  let endings = 1;
  const { label, next, requests } = await watch(SLICES, {
    backoff: { wait, reset() {} },
    onRequest: ({ url }) => (url.includes("watch=") && endings-- > 0 ? new Response("") : undefined),
  });
  await next();
  const change = next();
  await waiting.promise;
  expect(countLists(requests)).toBe(2); // a list and a watch
  label("a", "1");
  over.resolve();
  expect(await change).toEqual({ type: "put", key: "a", object: "1" });
});

test("watchObjects() resumes each watch that reported a change quickly, however many there are", async () => {
  const { label, endWatches, next } = await watch(SLICES, { backoff: createBackoff({ initial: 1, max: 60_000 }) });
  await next();
  for (let count = 1; count <= 16; count++) {
    label("a", String(count));
    await next();
    endWatches();
  }
});

test("watchObjects() retries after errors and invalid responses, and logs them", async () => {
  const responses = [new Response("busy", { status: 503 }), new Response("not JSON"), new Response("")];
  const { label, next, lines } = await watch(SLICES, { onRequest: () => responses.shift() });
  label("a", "1");
  expect(await next()).toEqual({ type: "replace", objects: { a: "1" } });
  expect(lines[0]).toBe(`Watch interrupted: GET ${SLICES} answered 503: busy`);
  expect(lines).toHaveLength(3);
});

test("watchObjects() ends with the signal", async () => {
  const { next, stop } = await watch(SLICES);
  await next();
  stop.abort();
  expect(await next().then(String, String)).toBe("Error: The watch has ended");
});
