import { expect, test } from "bun:test";
import type { ClaimId } from "../claims/claim.ts";
import { cdiDeviceName, formatCdiSpec, parseCdiSpec } from "./cdi.ts";

const CLAIM: ClaimId = { namespace: "team", name: "train-gpu", uid: "0b0d6c1c-2f4e-4a57-9f0e-3a2f6f1f8a11" };
const FOLDER = "/var/lib/kubelet/plugins/bitfusion.io/claims/1";

/** Two shares of the first GPU. */
const DEVICES = ["gpu-a", "gpu-b", "gpu-a"];

test("formatCdiSpec() returns a device for each GPU, and that of earlier versions, which mount the claim's folder read-only", () => {
  const containerEdits = {
    env: ["BITFUSION_LEASES=/run/bitfusion/leases"],
    mounts: [
      {
        hostPath: FOLDER,
        containerPath: `/run/bitfusion/leases/${CLAIM.uid}`,
        options: ["bind", "ro", "nosuid", "nodev", "noexec"],
      },
    ],
  };
  expect(JSON.parse(formatCdiSpec(CLAIM, DEVICES, FOLDER))).toEqual({
    cdiVersion: "0.6.0",
    kind: "bitfusion.io/claim",
    annotations: { "bitfusion.io/namespace": "team", "bitfusion.io/name": "train-gpu" },
    devices: [
      { name: CLAIM.uid, containerEdits },
      { name: `${CLAIM.uid}_gpu-a`, containerEdits },
      { name: `${CLAIM.uid}_gpu-b`, containerEdits },
    ],
  });
  expect(cdiDeviceName(CLAIM.uid, "gpu-b")).toBe(`bitfusion.io/claim=${CLAIM.uid}_gpu-b`);
});

test("formatCdiSpec() returns equal text for equal claims", () => {
  expect(formatCdiSpec(structuredClone(CLAIM), DEVICES, FOLDER)).toBe(formatCdiSpec(CLAIM, DEVICES, FOLDER));
});

test("parseCdiSpec() returns the claim of formatCdiSpec()", () => {
  expect(parseCdiSpec(formatCdiSpec(CLAIM, DEVICES, FOLDER))).toEqual(CLAIM);
});

test.each([
  ["", 'the document is "": expected JSON'],
  ["{", 'the document is "{": expected JSON'],
  ["[]", "annotations is not set"],
  [formatCdiSpec(CLAIM, DEVICES, FOLDER).replace("bitfusion.io/namespace", "x"), "bitfusion.io/namespace is not set"],
])("parseCdiSpec() rejects %j and names the field", (text, message) => {
  expect(() => parseCdiSpec(text)).toThrow(message);
});
