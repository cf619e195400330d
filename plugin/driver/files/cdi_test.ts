import { expect, test } from "bun:test";
import type { ClaimId } from "../claims/claim.ts";
import { cdiDeviceName, formatCdiSpec, parseCdiSpec } from "./cdi.ts";

const CLAIM: ClaimId = { namespace: "team", name: "train-gpu", uid: "0b0d6c1c-2f4e-4a57-9f0e-3a2f6f1f8a11" };
const FOLDER = "/var/lib/kubelet/plugins/bitfusion.io/claims/1";

test("formatCdiSpec() returns one device, named after the claim's uid, that mounts the claim's folder read-only", () => {
  expect(JSON.parse(formatCdiSpec(CLAIM, FOLDER))).toEqual({
    cdiVersion: "0.6.0",
    kind: "bitfusion.io/claim",
    annotations: { "bitfusion.io/namespace": "team", "bitfusion.io/name": "train-gpu" },
    devices: [
      {
        name: CLAIM.uid,
        containerEdits: {
          env: ["BITFUSION_LEASES=/run/bitfusion/leases"],
          mounts: [
            {
              hostPath: FOLDER,
              containerPath: `/run/bitfusion/leases/${CLAIM.uid}`,
              options: ["bind", "ro", "nosuid", "nodev", "noexec"],
            },
          ],
        },
      },
    ],
  });
  expect(cdiDeviceName(CLAIM.uid)).toBe(`bitfusion.io/claim=${CLAIM.uid}`);
});

test("formatCdiSpec() returns equal text for equal claims", () => {
  expect(formatCdiSpec(structuredClone(CLAIM), FOLDER)).toBe(formatCdiSpec(CLAIM, FOLDER));
});

test("parseCdiSpec() returns the claim of formatCdiSpec()", () => {
  expect(parseCdiSpec(formatCdiSpec(CLAIM, FOLDER))).toEqual(CLAIM);
});

test.each([
  ["", 'the document is "": expected JSON'],
  ["{", 'the document is "{": expected JSON'],
  ["[]", "annotations is not set"],
  [formatCdiSpec(CLAIM, FOLDER).replace("bitfusion.io/namespace", "x"), "bitfusion.io/namespace is not set"],
])("parseCdiSpec() rejects %j and names the field", (text, message) => {
  expect(() => parseCdiSpec(text)).toThrow(message);
});
