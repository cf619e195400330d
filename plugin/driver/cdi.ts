import * as v from "valibot";
import { type AllocatedDevice, DEVICES_VARIABLE, formatDevices } from "../../pool/allocated_device.ts";
import { DRIVER } from "../../pool/driver.ts";
import { describeIssue } from "../../program/describe_issue.ts";
import type { ClaimId, GpuShare } from "./claim.ts";

/*
 * What the container runtime adds to the containers of a claim, by the Container Device Interface
 * (github.com/cncf-tags/container-device-interface, SPEC.md): a file for each claim, of one device.
 */

/** A claim whose file is there. */
export interface PreparedClaim extends ClaimId {
  readonly shares: readonly GpuShare[];
}

/** Vendor and class: letters, digits, dots and dashes. */
const KIND = `${DRIVER}/claim`;

/** The first that has annotations; those of Kubernetes 1.36's container runtimes know it. */
const CDI_VERSION = "0.6.0";

/** Whose file it is: claims that are gone cannot be asked. Keys as those of Kubernetes' annotations. */
const ANNOTATIONS = {
  namespace: `${DRIVER}/namespace`,
  name: `${DRIVER}/name`,
  shares: `${DRIVER}/shares`,
} as const;

/** The name of a claim's device, for the kubelet to give to the container runtime. */
export function cdiDeviceOf(uid: string): string {
  return `${KIND}=${uid}`;
}

/** The content of a claim's file: the same for the same claim. */
export function cdiSpecOf({ namespace, name, uid, shares }: PreparedClaim): string {
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
 * The claim that a file of {@link cdiSpecOf} is for.
 *
 * @throws {Error} names the field, its value and what would be right.
 */
export function preparedClaimOf(text: string): PreparedClaim {
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
