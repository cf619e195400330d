import { expect, test } from "bun:test";
import type { EventRecorder, RecordedEvent } from "../../kubernetes/events.ts";
import type { Logger } from "../../program/log/log.ts";
import { createMetrics } from "../review/metrics.ts";
import { createCatalogueReport } from "./catalogue_report.ts";

/** Reports an invalid catalogue. Returns the log entries and the counted reloads. */
async function report(record?: EventRecorder) {
  const { catalogueReloads: reloads } = createMetrics({ poolUnits: () => undefined });
  const logged: [message: string, fields: unknown][] = [];
  const log = { error: (message: string, fields: unknown) => void logged.push([message, fields]) } as unknown as Logger;
  createCatalogueReport({ namespace: "bitfusion-system", log, reloads, record })(
    new Error("Cannot use clients.yaml: default is not set"),
  );
  await new Promise(setImmediate); // the report does not wait for the event
  return { logged, counted: (await reloads.get()).values.map(({ labels, value }) => [labels.result, value]) };
}

const LOGGED: [string, unknown] = [
  "Client catalogue refused: the last valid one stays in use",
  { reason: "Cannot use clients.yaml: default is not set" },
];

test("createCatalogueReport() logs, counts and records an invalid catalogue", async () => {
  const events: RecordedEvent[] = [];
  const { logged, counted } = await report(async (event) => void events.push(event));
  expect(logged).toEqual([LOGGED]);
  expect(counted).toEqual([["refused", 1]]);
  expect(events).toEqual([
    {
      object: { kind: "ConfigMap", apiVersion: "v1", namespace: "bitfusion-system", name: "bitfusion-clients" },
      type: "Warning",
      reason: "CatalogueRefused",
      message: "Cannot use clients.yaml: default is not set",
    },
  ]);
});

test("createCatalogueReport() logs why an event cannot be recorded, and does not throw", async () => {
  const { logged } = await report(() => Promise.reject(new Error("forbidden")));
  expect(logged).toEqual([LOGGED, ["Cannot record an event", { reason: "forbidden" }]]);
});

test("createCatalogueReport() works without an event recorder", async () => {
  expect(await report()).toEqual({ logged: [LOGGED], counted: [["refused", 1]] });
});
