import { expect, test } from "bun:test";
import type { DeviceAllocation, ResourceClaim } from "../kubernetes/objects/resource_claim.ts";
import type { Device, ResourceSlice } from "../kubernetes/objects/resource_slice.ts";
import { allocate } from "./scheduler.ts";

const TAINTS = [{ key: "bitfusion.io/unreachable", effect: "NoSchedule", timeAdded: "2026-01-01T00:00:00Z" }] as const;

function gpu(name: string, changes: Partial<Device> = {}): Device {
  return {
    name,
    allowMultipleAllocations: true,
    capacity: {
      units: { value: "100", requestPolicy: { default: "100" } },
      memory: { value: "16G", requestPolicy: { default: "0" } },
    },
    ...changes,
  };
}

function slice(...devices: Device[]): ResourceSlice {
  const pool = { name: "bitfusion-0", generation: 1, resourceSliceCount: 1 };
  return { metadata: { name: "bitfusion-0" }, spec: { driver: "bitfusion.io", pool, devices } };
}

function claim(count: number, units?: number): ResourceClaim {
  const capacity = units === undefined ? {} : { capacity: { requests: { units: String(units) } } };
  const exactly = { deviceClassName: "bitfusion.io", count, ...capacity };
  return { metadata: { name: "claim" }, spec: { devices: { requests: [{ name: "gpu", exactly }] } } };
}

function holds(device: string, units: number): DeviceAllocation {
  const consumedCapacity = { units: String(units), memory: "0" };
  return { driver: "bitfusion.io", pool: "bitfusion-0", device, request: "gpu", consumedCapacity };
}

test("allocate() takes the first device with enough capacity left", () => {
  const state = { slices: [slice(gpu("a"), gpu("b"))], held: [holds("a", 60)] };
  expect(allocate([claim(1, 60)], state)).toEqual([[holds("b", 60)]]);
  expect(allocate([claim(1, 40)], state)).toEqual([[holds("a", 40)]]);
});

test("allocate() fills a device up to its capacity, and not further", () => {
  const slices = [slice(gpu("a"))];
  expect(allocate([claim(1, 40)], { slices, held: [holds("a", 30), holds("a", 30)] })).toEqual([[holds("a", 40)]]);
  expect(allocate([claim(1, 41)], { slices, held: [holds("a", 30), holds("a", 30)] })).toBeUndefined();
});

test("allocate() counts devices of the same name in other pools apart", () => {
  const held = [{ ...holds("a", 100), pool: "another" }];
  expect(allocate([claim(1, 100)], { slices: [slice(gpu("a"))], held })).toEqual([[holds("a", 100)]]);
});

test("allocate() leaves devices with a taint alone", () => {
  const slices = [slice(gpu("a", { taints: TAINTS }), gpu("b"))];
  expect(allocate([claim(1, 60)], { slices, held: [] })).toEqual([[holds("b", 60)]]);
  expect(allocate([claim(2, 60)], { slices, held: [] })).toBeUndefined();
});

test("allocate() takes different devices for one request", () => {
  const slices = [slice(gpu("a")), slice(gpu("b"))];
  expect(allocate([claim(2, 50)], { slices, held: [] })).toEqual([[holds("a", 50), holds("b", 50)]]);
  expect(allocate([claim(3, 10)], { slices, held: [] })).toBeUndefined();
});

test("allocate() allocates all claims of a pod or none, and counts them together", () => {
  const slices = [slice(gpu("a"))];
  expect(allocate([claim(1, 60), claim(1, 40)], { slices, held: [] })).toEqual([[holds("a", 60)], [holds("a", 40)]]);
  expect(allocate([claim(1, 60), claim(1, 60)], { slices, held: [] })).toBeUndefined();
});

test("allocate() consumes the default of a capacity that is not requested, or all of it without a default", () => {
  const slices = [slice(gpu("a"), gpu("b", { capacity: { units: { value: "100" } } }))];
  expect(allocate([claim(2)], { slices, held: [] })?.[0]?.map((each) => each.consumedCapacity)).toEqual([
    { units: "100", memory: "0" },
    { units: "100" },
  ]);
});

test("allocate() throws for a request with selectors, and names it", () => {
  const { metadata, spec } = claim(1, 60);
  const [request] = spec.devices?.requests ?? [];
  const exactly = {
    deviceClassName: "bitfusion.io",
    ...request?.exactly,
    selectors: [{ cel: { expression: "true" } }],
  };
  const selective = { metadata, spec: { devices: { requests: [{ ...request, exactly }] } } };
  expect(() => allocate([selective], { slices: [slice(gpu("a"))], held: [] })).toThrow(
    'Cannot allocate request "gpu" of claim "claim": expected a count, without selectors',
  );
});
