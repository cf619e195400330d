import { expect, test } from "bun:test";
import type { DeviceAllocation, ResourceClaim } from "../../kubernetes/objects/resource_claim.ts";
import { sharesOf, whyLost } from "./claim.ts";

const ID = { namespace: "team", name: "train-gpu", uid: "a-1" };
const EXPECTED = "expected a whole number from 1 to 100";

function result(overrides: Partial<DeviceAllocation> = {}): DeviceAllocation {
  const share = { request: "gpu", driver: "bitfusion.io", pool: "pool", device: "gpu-aaaaaaaa" };
  return { ...share, consumedCapacity: { units: "60" }, ...overrides };
}

function claimWith(...results: DeviceAllocation[]): ResourceClaim {
  return {
    metadata: { namespace: ID.namespace, name: ID.name, uid: ID.uid },
    spec: {},
    status: { allocation: { devices: { results } } },
  };
}

test("sharesOf() tells pool, device, request, share and units of each device", () => {
  const second = result({ device: "gpu-bbbbbbbb", shareID: "s-2", consumedCapacity: { units: "100", memory: "8Gi" } });
  expect(sharesOf(claimWith(result({ shareID: "s-1" }), second), ID)).toEqual([
    { request: "gpu", pool: "pool", device: "gpu-aaaaaaaa", shareId: "s-1", units: 60 },
    { request: "gpu", pool: "pool", device: "gpu-bbbbbbbb", shareId: "s-2", units: 100 },
  ]);
});

test.each([
  ["1", 1],
  ["100", 100],
  ["1e2", 100],
  ["60000m", 60],
])("sharesOf() reads %s as %i units", (quantity, units) => {
  expect(sharesOf(claimWith(result({ consumedCapacity: { units: quantity } })), ID)).toMatchObject([{ units }]);
});

test("sharesOf() leaves other drivers' devices out, and the name of an alternative", () => {
  const others = result({ driver: "gpu.example.com", consumedCapacity: {} });
  const alternative = result({ request: "gpu/large" });
  expect(sharesOf(claimWith(others, alternative), ID)).toMatchObject([{ request: "gpu", units: 60 }]);
});

const path = "Claim team/train-gpu: status.allocation.devices.results";

test.each<[what: string, claim: ResourceClaim | undefined, message: string]>([
  ["that is gone", undefined, 'Claim team/train-gpu: there is none: expected the one of uid "a-1"'],
  [
    "of another uid",
    { ...claimWith(result()), metadata: { name: ID.name, uid: "a-2" } },
    'Claim team/train-gpu: metadata.uid is "a-2": expected "a-1"',
  ],
  [
    "that is not allocated",
    { ...claimWith(), status: {} },
    "Claim team/train-gpu: status.allocation is not set: expected what the scheduler has allocated",
  ],
  [
    "that has others' devices only",
    claimWith(result({ driver: "gpu.example.com" })),
    `${path} has no device of driver bitfusion.io: expected one or more`,
  ],
  [
    "without capacity",
    claimWith(result(), result({ consumedCapacity: { memory: "1Gi" } })),
    `${path}.1.consumedCapacity.units is not set: ${EXPECTED}`,
  ],
  [
    "of no units",
    claimWith(result({ consumedCapacity: { units: "0" } })),
    `${path}.0.consumedCapacity.units is "0": ${EXPECTED}`,
  ],
  [
    "of more than a GPU",
    claimWith(result({ consumedCapacity: { units: "101" } })),
    `${path}.0.consumedCapacity.units is "101": ${EXPECTED}`,
  ],
  [
    "of part of a unit",
    claimWith(result({ consumedCapacity: { units: "500m" } })),
    `${path}.0.consumedCapacity.units is "500m": ${EXPECTED}`,
  ],
  [
    "of something else",
    claimWith(result({ consumedCapacity: { units: "half" } })),
    `${path}.0.consumedCapacity.units is "half": ${EXPECTED}`,
  ],
])("sharesOf() refuses a claim %s", (_, claim, message) => {
  expect(() => sharesOf(claim, ID)).toThrow(new Error(message));
});

test("whyLost() finds nothing wrong with a claim that is allocated, whatever it has", () => {
  expect(whyLost(claimWith(), ID)).toBeUndefined();
});
