import { expect, test } from "bun:test";
import { formatDevices, parseDevices } from "./allocated_device.ts";

test("parseDevices() parses the output of formatDevices()", () => {
  const devices = [
    { device: "gpu-1abc", units: 50 },
    { device: "gpu-2def", units: 100 },
  ];
  expect(formatDevices(devices)).toBe("gpu-1abc=50,gpu-2def=100");
  expect(parseDevices(formatDevices(devices))).toEqual(devices);
});

test.each(["", "gpu-1", "gpu-1=", "gpu-1=x", "gpu-1=50,", "GPU=1", "gpu-1=1000"])(
  "parseDevices() rejects %j",
  (text) => {
    expect(parseDevices(text)).toBeUndefined();
  },
);
