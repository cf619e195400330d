import { expect, test } from "bun:test";
import { createMetrics } from "./metrics.ts";

test("createMetrics() tells the pool's units as they are when it is asked, NaN while they are not known", async () => {
  let units: number | undefined;
  const { registry } = createMetrics({ poolUnits: () => units });
  expect(await registry.metrics()).toContain("bitfusion_webhook_pool_units Nan");
  units = 800;
  expect(await registry.metrics()).toContain("bitfusion_webhook_pool_units 800");
});

test("createMetrics() makes a registry of its own each time", () => {
  expect(createMetrics({ poolUnits: () => 1 }).registry).not.toBe(createMetrics({ poolUnits: () => 1 }).registry);
});
