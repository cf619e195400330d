import { expect, test } from "bun:test";
import type { KubernetesObject } from "@kubernetes/client-node";
import { createObjectStore } from "./objects.ts";

const SLICES = "/apis/resource.k8s.io/v1/resourceslices";

/** Creates a store with the slice `a`, and a function that sends it requests. */
function start() {
  const store = createObjectStore();
  store.put(`${SLICES}/a`, { metadata: { labels: { x: "1" } }, spec: { driver: "bitfusion.io" } });
  async function send(method: string, path: string, body?: object) {
    const headers = { "Content-Type": method === "PATCH" ? "application/merge-patch+json" : "application/json" };
    const init = body ? { method, headers, body: JSON.stringify(body) } : { method };
    const response = await store.answer(new Request(`http://localhost${path}`, init));
    return { status: response?.status, object: (await response?.json()) as Record<string, unknown> };
  }
  const stored = () => store.objects.get(`${SLICES}/a`) as KubernetesObject;
  return { ...store, send, stored };
}

test.each<[method: string, path: string, body?: object]>([
  ["POST", `${SLICES}?dryRun=All`, { metadata: { name: "b" } }],
  ["PUT", `${SLICES}/a?dryRun=All`, { spec: { driver: "other" } }],
  ["PATCH", `${SLICES}/a?dryRun=All`, { spec: { driver: "other" } }],
  ["DELETE", `${SLICES}/a?dryRun=All`],
  ["DELETE", `${SLICES}/a`, { dryRun: ["All"] }],
])("a dry run of %s %s answers as usual, and changes nothing", async (method, path, body) => {
  const { send, objects } = start();
  const before = [...objects];
  const { status, object } = await send(method, path, body);
  expect(status).toBe(method === "POST" ? 201 : 200);
  expect(object).toMatchObject(body && method !== "DELETE" ? body : { metadata: { name: "a" } });
  expect([...objects]).toEqual(before);
});

test.each([
  ["uid", { uid: "another" }],
  ["resourceVersion", { resourceVersion: "0" }],
])("a removal fails if its precondition %s is not met", async (_, preconditions) => {
  const { send, objects, stored } = start();
  expect(await send("DELETE", `${SLICES}/a`, { preconditions })).toMatchObject({ status: 409 });
  const { uid, resourceVersion } = stored().metadata ?? {};
  expect(await send("DELETE", `${SLICES}/a`, { preconditions: { uid, resourceVersion } })).toMatchObject({
    status: 200,
  });
  expect(objects.size).toBe(0);
});

test.each([
  ["fieldSelector=spec.driver%3Dbitfusion.io", ["a"]],
  ["fieldSelector=spec.driver!%3Dbitfusion.io", ["b"]],
  ["labelSelector=x%3D1", ["a"]],
  ["labelSelector=x%3D1&fieldSelector=spec.driver%3Dother", []],
  ["labelSelector=x%3D1,y!%3D1", ["a"]],
])("a list with the selector %s has only the objects that match", async (query, names) => {
  const { send, put } = start();
  put(`${SLICES}/b`, { spec: { driver: "other" } });
  const { object } = await send("GET", `${SLICES}?${query}`);
  expect((object.items as KubernetesObject[]).map(({ metadata }) => metadata?.name)).toEqual(names as string[]);
});
