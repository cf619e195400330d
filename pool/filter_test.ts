import { expect, test } from "bun:test";
import { attributesOf } from "./attributes.ts";
import { attributeOfFilter, FILTER_KEYS, matchesFilter, parseFilter } from "./filter.ts";

const LONG = "x".repeat(65);
const SERVER = {
  address: "gpu-1.example:56001",
  facts: {
    hostname: "gpu-1",
    hasRdma: true,
    cudaVersion: "12.4",
    driverVersion: "550.54.15",
    dataPlane: { name: "lupine", build: "0.9" },
  },
};
const GPU = { id: "a/0", model: "Tesla T4", memoryMb: 16_000, healthy: true, isolation: "memory" };

test.each([
  ["server.addr=gpu-1.example:56001", true],
  ["server.addr=gpu-1.example", true],
  ["server.addr=gpu-1.example:56002", false],
  ["server.addr=gpu-1", false],
  ["server.hostname=gpu-1", true],
  ["server.hostname=gpu-2", false],
  ["server.has-rdma=true", true],
  ["server.has-rdma=false", false],
  ["server.cuda-version=12.4", true],
  ["server.cuda-version=12", false],
  ["server.driver-version=550.54.15", true],
  ["server.data-plane=lupine", true],
  ["server.data-plane=none", false],
  ["server.data-plane-build=0.9", true],
  ["server.data-plane-build=0", false],
  ["device.isolation=memory", true],
  ["device.isolation=memory-and-compute", false],
  ["device.id=a/0", true],
  ["device.id=a", false],
  ["device.name=Tesla T4", true],
  ["device.name=tesla t4", false],
  ["device.phy-memory=16000", true],
  ["device.phy-memory=16", false],
])("matchesFilter() of %s is %j", (text, expected) => {
  const filter = parseFilter(text);
  expect(filter && matchesFilter(filter, attributesOf(SERVER, GPU))).toBe(expected);
});

test("matchesFilter() is false if the attribute is unknown", () => {
  for (const key of FILTER_KEYS) expect(matchesFilter({ key, value: "" }, {})).toBe(false);
});

test("matchesFilter() compares values that exceed the length of an attribute", () => {
  const attributes = attributesOf(SERVER, { ...GPU, id: LONG });
  expect(attributes.id).toHaveLength(64);
  expect(matchesFilter({ key: "device.id", value: LONG }, attributes)).toBe(true);
  expect(matchesFilter({ key: "device.id", value: `${LONG}x` }, attributes)).toBe(false);
});

test("matchesFilter() matches an IPv6 server with and without its port", () => {
  const attributes = attributesOf({ address: "[::1]:56001" }, GPU);
  for (const value of ["[::1]", "[::1]:56001"]) {
    expect(matchesFilter({ key: "server.addr", value }, attributes)).toBe(true);
  }
});

test("parseFilter() accepts a value with an equals sign", () => {
  expect(parseFilter("device.id=a=b")).toEqual({ key: "device.id", value: "a=b" });
});

test.each(["", "device.id", "device.id=", "=a", "toString=1", "server.addr:a"])("parseFilter() rejects %j", (text) => {
  expect(parseFilter(text)).toBeUndefined();
});

test("attributeOfFilter() throws if the key is unknown", () => {
  expect(() => attributeOfFilter({ key: "toString", value: "1" })).toThrow('Unknown filter "toString"');
});
