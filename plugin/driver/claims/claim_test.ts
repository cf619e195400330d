import { expect, test } from "bun:test";
import type { DeviceAllocation, ResourceClaim } from "../../../kubernetes/objects/resource_claim.ts";
import { allocatedShares, reasonForLoss } from "./claim.ts";

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

test("allocatedShares() returns the pool, device, request, share id and units of each device", () => {
  const second = result({ device: "gpu-bbbbbbbb", shareID: "s-2", consumedCapacity: { units: "100", memory: "8Gi" } });
  expect(allocatedShares(claimWith(result({ shareID: "s-1" }), second), ID)).toEqual([
    { request: "gpu", pool: "pool", device: "gpu-aaaaaaaa", shareId: "s-1", units: 60 },
    { request: "gpu", pool: "pool", device: "gpu-bbbbbbbb", shareId: "s-2", units: 100 },
  ]);
});

test.each([
  ["1", 1],
  ["100", 100],
  ["1e2", 100],
  ["60000m", 60],
])("allocatedShares() parses %s as %i units", (quantity, units) => {
  expect(allocatedShares(claimWith(result({ consumedCapacity: { units: quantity } })), ID)).toMatchObject([{ units }]);
});

test("allocatedShares() ignores devices of other drivers, and the name of the chosen alternative", () => {
  const others = result({ driver: "gpu.example.com", consumedCapacity: {} });
  const alternative = result({ request: "gpu/large" });
  expect(allocatedShares(claimWith(others, alternative), ID)).toMatchObject([{ request: "gpu", units: 60 }]);
});

const path = "Claim team/train-gpu: status.allocation.devices.results";

test.each<[what: string, claim: ResourceClaim | undefined, message: string]>([
  ["that does not exist", undefined, 'Claim team/train-gpu: it does not exist: expected a claim with uid "a-1"'],
  [
    "with another uid",
    { ...claimWith(result()), metadata: { name: ID.name, uid: "a-2" } },
    'Claim team/train-gpu: metadata.uid is "a-2": expected "a-1"',
  ],
  [
    "that is not allocated",
    { ...claimWith(), status: {} },
    "Claim team/train-gpu: status.allocation is not set: expected an allocation by the scheduler",
  ],
  [
    "that has only devices of other drivers",
    claimWith(result({ driver: "gpu.example.com" })),
    `${path} has no device of driver bitfusion.io: expected at least one`,
  ],
  [
    "without units",
    claimWith(result(), result({ consumedCapacity: { memory: "1Gi" } })),
    `${path}.1.consumedCapacity.units is not set: ${EXPECTED}`,
  ],
  [
    "of 0 units",
    claimWith(result({ consumedCapacity: { units: "0" } })),
    `${path}.0.consumedCapacity.units is "0": ${EXPECTED}`,
  ],
  [
    "of more than 100 units",
    claimWith(result({ consumedCapacity: { units: "101" } })),
    `${path}.0.consumedCapacity.units is "101": ${EXPECTED}`,
  ],
  [
    "of a fraction of a unit",
    claimWith(result({ consumedCapacity: { units: "500m" } })),
    `${path}.0.consumedCapacity.units is "500m": ${EXPECTED}`,
  ],
  [
    "of units that are not a quantity",
    claimWith(result({ consumedCapacity: { units: "half" } })),
    `${path}.0.consumedCapacity.units is "half": ${EXPECTED}`,
  ],
])("allocatedShares() rejects a claim %s", (_, claim, message) => {
  expect(() => allocatedShares(claim, ID)).toThrow(new Error(message));
});

test("reasonForLoss() returns undefined for an allocated claim, even without devices", () => {
  expect(reasonForLoss(claimWith(), ID)).toBeUndefined();
});
