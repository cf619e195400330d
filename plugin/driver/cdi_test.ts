import { expect, test } from "bun:test";
import { parseDevices } from "../../pool/allocated_device.ts";
import { cdiDeviceName, formatCdiSpec, type PreparedClaim, parseCdiSpec } from "./cdi.ts";

const CLAIM: PreparedClaim = {
  namespace: "team",
  name: "train-gpu",
  uid: "0b0d6c1c-2f4e-4a57-9f0e-3a2f6f1f8a11",
  shares: [
    { request: "gpu", pool: "pool", device: "gpu-aaaaaaaa", shareId: "s-1", units: 60 },
    { request: "gpu", pool: "pool", device: "gpu-bbbbbbbb", units: 60 },
  ],
};

/** The environment variables of a container with this claim. */
function environmentOf(claim: PreparedClaim): Record<string, string> {
  const [device] = JSON.parse(formatCdiSpec(claim)).devices;
  return Object.fromEntries(device.containerEdits.env.map((variable: string) => variable.split(/=(.*)/s, 2)));
}

test("formatCdiSpec() returns one device, named after the claim's uid, that tells the container its GPUs", () => {
  expect(JSON.parse(formatCdiSpec(CLAIM))).toEqual({
    cdiVersion: "0.6.0",
    kind: "bitfusion.io/claim",
    annotations: {
      "bitfusion.io/namespace": "team",
      "bitfusion.io/name": "train-gpu",
      "bitfusion.io/shares": JSON.stringify(CLAIM.shares),
    },
    devices: [{ name: CLAIM.uid, containerEdits: { env: ["BITFUSION_DEVICES=gpu-aaaaaaaa=60,gpu-bbbbbbbb=60"] } }],
  });
  expect(cdiDeviceName(CLAIM.uid)).toBe(`bitfusion.io/claim=${CLAIM.uid}`);
});

test("formatCdiSpec() returns equal text for equal claims", () => {
  expect(formatCdiSpec(structuredClone(CLAIM))).toBe(formatCdiSpec(CLAIM));
});

test("formatCdiSpec() writes devices that the pool's client can parse", () => {
  expect(parseDevices(environmentOf(CLAIM).BITFUSION_DEVICES ?? "")).toEqual([
    { device: "gpu-aaaaaaaa", units: 60 },
    { device: "gpu-bbbbbbbb", units: 60 },
  ]);
});

test("formatCdiSpec() adds up the shares of one GPU", () => {
  const [share] = CLAIM.shares;
  const shares = [30, 45].map((units, index) => ({ ...share, request: `r${index}`, units }) as never);
  expect(environmentOf({ ...CLAIM, shares }).BITFUSION_DEVICES).toBe("gpu-aaaaaaaa=75");
});

test("parseCdiSpec() parses the output of formatCdiSpec()", () => {
  expect(parseCdiSpec(formatCdiSpec(CLAIM))).toEqual(CLAIM);
});

test.each([
  ["", 'the document is "": expected JSON'],
  ["{", 'the document is "{": expected JSON'],
  ["[]", "annotations is not set"],
  [formatCdiSpec(CLAIM).replace("bitfusion.io/namespace", "x"), "bitfusion.io/namespace is not set"],
  [formatCdiSpec(CLAIM).replace('"[', '"x['), "bitfusion.io/shares is "],
  [formatCdiSpec(CLAIM).replace('\\"units\\":60', '\\"units\\":\\"60\\"'), 'units is "60": expected number'],
])("parseCdiSpec() rejects %j and names the field", (text, message) => {
  expect(() => parseCdiSpec(text)).toThrow(message);
});
