import { expect, test } from "bun:test";
import { matchesFilter, SERVER_FILTERS } from "./filter.ts";

const SUBJECT = { hostname: "gpu-1", gpu: { id: "a/0", model: "Tesla T4", memoryMb: 16_000, healthy: true } };

test.each([
  ["server.hostname", "gpu-1", true],
  ["server.hostname", "gpu-2", false],
  ["device.id", "a/0", true],
  ["device.id", "a", false],
  ["device.name", "Tesla T4", true],
  ["device.name", "tesla t4", false],
  ["device.phy-memory", "16000", true],
  ["device.phy-memory", "16", false],
  ["server.addr", "gpu-1", false],
  ["toString", "gpu-1", false],
])("matchesFilter() of %s=%s is %j", (key, value, expected) => {
  expect(matchesFilter(SUBJECT, { key, value })).toBe(expected);
});

test("SERVER_FILTERS leaves server.addr to the client", () => {
  expect(SERVER_FILTERS).toEqual(["server.hostname", "device.id", "device.name", "device.phy-memory"]);
});
