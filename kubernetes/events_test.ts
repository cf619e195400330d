import { afterEach, expect, test } from "bun:test";
import type { CoreV1Event } from "@kubernetes/client-node";
import { createEventRecorder, type RecordedEvent } from "./events.ts";
import { connectWithKubeconfig, kubeconfigOf, startSimulatedApiServer } from "./simulated/api_server.ts";

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** Starts an API server, and creates a recorder for it. */
async function start(onRequest?: () => Response) {
  const api = startSimulatedApiServer({ onRequest });
  cleanups.push(() => api[Symbol.asyncDispose]());
  const { request } = await connectWithKubeconfig(kubeconfigOf(api.url));
  const events = () => [...api.store.objects.values()] as unknown as CoreV1Event[];
  return { api, events, request, record: createEventRecorder({ request, component: "bitfusion-webhook" }) };
}

const event: RecordedEvent = {
  object: { kind: "ConfigMap", apiVersion: "v1", namespace: "bitfusion-system", name: "bitfusion-clients" },
  type: "Warning",
  reason: "CatalogueRefused",
  message: "Cannot use clients.yaml: default is not set",
};

test("createEventRecorder() posts an event with the fields that kubectl shows", async () => {
  const { api, events, record } = await start();
  const before = Date.now() - 1000; // times have whole seconds
  await record(event);
  expect(api.requests).toEqual(["POST /api/v1/namespaces/bitfusion-system/events"]);
  const [posted] = events();
  expect(posted).toMatchObject({
    involvedObject: event.object,
    type: "Warning",
    reason: "CatalogueRefused",
    message: event.message,
    source: { component: "bitfusion-webhook" },
    reportingComponent: "bitfusion-webhook",
    count: 1,
  });
  expect(posted?.metadata.name).toStartWith("bitfusion-clients.");
  expect(posted?.firstTimestamp).toEqual(posted?.lastTimestamp as Date);
  expect(new Date(posted?.lastTimestamp ?? 0).getTime()).toBeGreaterThanOrEqual(before);
});

test("createEventRecorder() truncates a message to the 1024 characters that the API server accepts", async () => {
  const { events, record } = await start();
  await record({ ...event, message: "x".repeat(2000) });
  expect(events()[0]?.message).toBe("x".repeat(1024));
});

test("createEventRecorder() escapes control characters, which terminals interpret", async () => {
  const { events, record } = await start();
  await record({ ...event, message: "\u001b[2J\u009bx" });
  expect(events()[0]?.message).toBe("\\u001b[2J\\u009bx");
});

test("createEventRecorder() increments the count of an event that exists, also if another replica recorded it", async () => {
  const { events, record, request } = await start();
  const other = createEventRecorder({ request, component: "bitfusion-webhook" });
  for (const recorder of [record, other, record]) await recorder(event);
  expect(events().map(({ count }) => count)).toEqual([3]);
});

test("createEventRecorder() leaves an event that exists as it is if it does not count repeats, and needs no right to read it", async () => {
  const { api, events, request } = await start();
  const record = createEventRecorder({ request, component: "bitfusion-driver", countsRepeats: false });
  for (let times = 0; times < 2; times += 1) await record(event);
  expect(events().map(({ count }) => count)).toEqual([1]);
  expect(new Set(api.requests)).toEqual(new Set(["POST /api/v1/namespaces/bitfusion-system/events"]));
});

test.each<[difference: string, other: RecordedEvent]>([
  ["another message", { ...event, message: "x" }],
  ["another reason", { ...event, reason: "Other" }],
  ["another object", { ...event, object: { ...event.object, name: "x" } }],
  ["a new object of the same name", { ...event, object: { ...event.object, uid: "x" } }],
])("createEventRecorder() records an event with %s separately", async (_, other) => {
  const { events, record } = await start();
  await record(event);
  await record(other);
  expect(events().map(({ count }) => count)).toEqual([1, 1]);
});

test("createEventRecorder() names the event of an object with a long name within the limit of 253 characters", async () => {
  const { events, record } = await start();
  await record({ ...event, object: { ...event.object, name: "x".repeat(253) } });
  expect(events()[0]?.metadata.name).toHaveLength(253);
});

test("createEventRecorder() throws if the API server rejects the event", async () => {
  const { record } = await start(() => Response.json({ message: "no rights" }, { status: 403 }));
  expect(await record(event).then(String, String)).toContain("no rights");
});
