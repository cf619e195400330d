import { expect, test } from "bun:test";
import { selectsDevice } from "./device_taint_rule.ts";

test("selectsDevice() compares what the selector names: nothing is all devices, and no selector is none", () => {
  const device = { driver: "bitfusion.io", pool: "bitfusion-0", device: "gpu-1" };
  const selects = (deviceSelector?: object) =>
    selectsDevice(
      { spec: { ...(deviceSelector ? { deviceSelector } : {}), taint: { key: "x", effect: "None" } } },
      device,
    );
  expect([selects(), selects({}), selects(device), selects({ pool: "bitfusion-0" })]).toEqual([
    false,
    true,
    true,
    true,
  ]);
  expect([selects({ ...device, device: "gpu-2" }), selects({ driver: "gpu.example" })]).toEqual([false, false]);
});
