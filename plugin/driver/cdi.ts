import * as v from "valibot";
import { type AllocatedDevice, DEVICES_VARIABLE, formatDevices } from "../../pool/allocated_device.ts";
import { DRIVER } from "../../pool/driver.ts";
import { describeIssue } from "../../program/text/describe_issue.ts";
import type { ClaimId, GpuShare } from "./claim.ts";

/*
 * CDI files tell the container runtime what to add to the containers of a claim (Container Device Interface,
 * github.com/cncf-tags/container-device-interface, SPEC.md). Each claim has a file with one device.
 */

/** A prepared claim, as its CDI file describes it. */
export interface PreparedClaim extends ClaimId {
  readonly shares: readonly GpuShare[];
}

/** Vendor and class of the devices. */
const KIND = `${DRIVER}/claim`;

/** The first version with annotations. The container runtimes of Kubernetes 1.36 support it. */
const CDI_VERSION = "0.6.0";

/** Annotations that identify the claim, since a deleted claim can no longer be read. */
const ANNOTATIONS = {
  namespace: `${DRIVER}/namespace`,
  name: `${DRIVER}/name`,
  shares: `${DRIVER}/shares`,
} as const;

/** The fully qualified name of a claim's device, which the kubelet passes to the container runtime. */
export function cdiDeviceName(uid: string): string {
  return `${KIND}=${uid}`;
}

/** The content of a claim's CDI file. Equal claims have equal files. */
export function formatCdiSpec({ namespace, name, uid, shares }: PreparedClaim): string {
  const spec = {
    cdiVersion: CDI_VERSION,
    kind: KIND,
    annotations: {
      [ANNOTATIONS.namespace]: namespace,
      [ANNOTATIONS.name]: name,
      [ANNOTATIONS.shares]: JSON.stringify(shares),
    },
    devices: [{ name: uid, containerEdits: { env: [`${DEVICES_VARIABLE}=${formatDevices(devicesOf(shares))}`] } }],
  };
  return `${JSON.stringify(spec, undefined, 2)}\n`;
}

/** The devices of a claim. Several shares of one GPU add up. */
function devicesOf(shares: readonly GpuShare[]): AllocatedDevice[] {
  const units = new Map<string, number>();
  for (const share of shares) units.set(share.device, (units.get(share.device) ?? 0) + share.units);
  return Array.from(units, ([device, sum]) => ({ device, units: sum }));
}

const Shares = v.array(
  v.object({
    request: v.string(),
    pool: v.string(),
    device: v.string(),
    shareId: v.optional(v.string()),
    units: v.number(),
  }),
);

const Spec = v.object({
  annotations: v.object({
    [ANNOTATIONS.namespace]: v.string(),
    [ANNOTATIONS.name]: v.string(),
    [ANNOTATIONS.shares]: v.pipe(v.string(), v.parseJson(undefined, "expected JSON"), Shares),
  }),
  devices: v.tuple([v.object({ name: v.string() })]),
});

/**
 * Parses the output of {@link formatCdiSpec}.
 *
 * @throws {Error} names the field, its value and what is expected.
 */
export function parseCdiSpec(text: string): PreparedClaim {
  const result = v.safeParse(v.pipe(v.string(), v.parseJson(undefined, "expected JSON"), Spec), text);
  if (!result.success) throw new Error(describeIssue(result.issues[0]));
  const { annotations, devices } = result.output;
  return {
    namespace: annotations[ANNOTATIONS.namespace],
    name: annotations[ANNOTATIONS.name],
    uid: devices[0].name,
    shares: annotations[ANNOTATIONS.shares],
  };
}
