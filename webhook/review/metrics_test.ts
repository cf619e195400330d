import { expect, test } from "bun:test";
import { createMetrics } from "./metrics.ts";

test("createMetrics() exports the current units of the pool, and NaN while they are unknown", async () => {
  let units: number | undefined;
  const { registry } = createMetrics({ poolUnits: () => units });
  expect(await registry.metrics()).toContain("bitfusion_webhook_pool_units Nan");
  units = 800;
  expect(await registry.metrics()).toContain("bitfusion_webhook_pool_units 800");
});

test("createMetrics() creates a new registry for each call", () => {
  expect(createMetrics({ poolUnits: () => 1 }).registry).not.toBe(createMetrics({ poolUnits: () => 1 }).registry);
});
