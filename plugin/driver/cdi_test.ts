import { expect, test } from "bun:test";
import { parseDevices } from "../../pool/allocated_device.ts";
import { cdiDeviceOf, cdiSpecOf, type PreparedClaim, preparedClaimOf } from "./cdi.ts";

const CLAIM: PreparedClaim = {
  namespace: "team",
  name: "train-gpu",
  uid: "0b0d6c1c-2f4e-4a57-9f0e-3a2f6f1f8a11",
  shares: [
    { request: "gpu", pool: "pool", device: "gpu-aaaaaaaa", shareId: "s-1", units: 60 },
    { request: "gpu", pool: "pool", device: "gpu-bbbbbbbb", units: 60 },
  ],
};

/** What a container of the claim has in its environment. */
function environmentOf(claim: PreparedClaim): Record<string, string> {
  const [device] = JSON.parse(cdiSpecOf(claim)).devices;
  return Object.fromEntries(device.containerEdits.env.map((variable: string) => variable.split(/=(.*)/s, 2)));
}

test("cdiSpecOf() is one device, named by the claim's uid, that tells the container its GPUs", () => {
  expect(JSON.parse(cdiSpecOf(CLAIM))).toEqual({
    cdiVersion: "0.6.0",
    kind: "bitfusion.io/claim",
    annotations: {
      "bitfusion.io/namespace": "team",
      "bitfusion.io/name": "train-gpu",
      "bitfusion.io/shares": JSON.stringify(CLAIM.shares),
    },
    devices: [{ name: CLAIM.uid, containerEdits: { env: ["BITFUSION_DEVICES=gpu-aaaaaaaa=60,gpu-bbbbbbbb=60"] } }],
  });
  expect(cdiDeviceOf(CLAIM.uid)).toBe(`bitfusion.io/claim=${CLAIM.uid}`);
});

test("cdiSpecOf() is the same for the same claim", () => {
  expect(cdiSpecOf(structuredClone(CLAIM))).toBe(cdiSpecOf(CLAIM));
});

test("cdiSpecOf() tells the pool's client what it reads", () => {
  expect(parseDevices(environmentOf(CLAIM).BITFUSION_DEVICES ?? "")).toEqual([
    { device: "gpu-aaaaaaaa", units: 60 },
    { device: "gpu-bbbbbbbb", units: 60 },
  ]);
});

test("cdiSpecOf() adds up the shares that several requests have of one GPU", () => {
  const [share] = CLAIM.shares;
  const shares = [30, 45].map((units, index) => ({ ...share, request: `r${index}`, units }) as never);
  expect(environmentOf({ ...CLAIM, shares }).BITFUSION_DEVICES).toBe("gpu-aaaaaaaa=75");
});

test("preparedClaimOf() reads what cdiSpecOf() tells", () => {
  expect(preparedClaimOf(cdiSpecOf(CLAIM))).toEqual(CLAIM);
});

test.each([
  ["", 'the document is "": expected JSON'],
  ["{", 'the document is "{": expected JSON'],
  ["[]", "annotations is not set"],
  [cdiSpecOf(CLAIM).replace("bitfusion.io/namespace", "x"), "bitfusion.io/namespace is not set"],
  [cdiSpecOf(CLAIM).replace('"[', '"x['), "bitfusion.io/shares is "],
  [cdiSpecOf(CLAIM).replace('\\"units\\":60', '\\"units\\":\\"60\\"'), 'units is "60": expected number'],
])("preparedClaimOf() says what is wrong with %j", (text, message) => {
  expect(() => preparedClaimOf(text)).toThrow(message);
});
