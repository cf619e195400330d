import { afterEach, expect, test } from "bun:test";
import { createEventRecorder, type RecordedEvent } from "./events.ts";
import { connectWith, kubeconfigOf, startSimulatedApiServer } from "./simulated/api_server.ts";

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function start(onRequest?: () => Response) {
  const api = startSimulatedApiServer({ onRequest: () => onRequest?.() });
  cleanups.push(() => api[Symbol.asyncDispose]());
  const { core } = await connectWith(kubeconfigOf(api.url));
  return { api, record: createEventRecorder({ core, namespace: "bitfusion-system", component: "bitfusion-webhook" }) };
}

const event: RecordedEvent = {
  kind: "ConfigMap",
  apiVersion: "v1",
  name: "bitfusion-clients",
  type: "Warning",
  reason: "CatalogueRefused",
  message: "Cannot use clients.yaml: default is not set",
};

test("createEventRecorder() posts an Event about the object, with what kubectl shows of it", async () => {
  const { api, record } = await start();
  const before = Date.now();
  await record(event);
  expect(api.requests).toEqual(["POST /api/v1/namespaces/bitfusion-system/events"]);
  const [{ metadata, firstTimestamp, lastTimestamp, ...posted } = { metadata: {} }] = api.events;
  expect(posted).toMatchObject({
    involvedObject: { kind: "ConfigMap", apiVersion: "v1", namespace: "bitfusion-system", name: "bitfusion-clients" },
    type: "Warning",
    reason: "CatalogueRefused",
    message: event.message,
    source: { component: "bitfusion-webhook" },
    reportingComponent: "bitfusion-webhook",
    count: 1,
  });
  expect(metadata.name).toStartWith("bitfusion-clients.");
  expect(firstTimestamp).toEqual(lastTimestamp as Date);
  expect(new Date(lastTimestamp ?? 0).getTime()).toBeGreaterThanOrEqual(before);
});

test("createEventRecorder() cuts a message to the 1024 characters that the API server takes", async () => {
  const { api, record } = await start();
  await record({ ...event, message: "x".repeat(2000) });
  expect(api.events[0]?.message).toBe("x".repeat(1024));
});

test("createEventRecorder() gives each Event a name of its own", async () => {
  const { api, record } = await start();
  await Promise.all([record(event), record(event)]);
  expect(new Set(api.events.map(({ metadata }) => metadata.name)).size).toBe(2);
});

test("createEventRecorder() fails when the API server refuses", async () => {
  const { record } = await start(() => Response.json({ message: "no rights" }, { status: 403 }));
  expect(await record(event).then(String, String)).toContain("no rights");
});
