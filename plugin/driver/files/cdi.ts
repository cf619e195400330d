import * as v from "valibot";
import { DRIVER } from "../../../pool/driver.ts";
import { LEASES_VARIABLE } from "../../../pool/lease_folder.ts";
import { describeIssue } from "../../../program/text/describe_issue.ts";
import type { ClaimId } from "../claims/claim.ts";

/*
 * CDI files tell the container runtime what to add to the containers of a claim (Container Device Interface,
 * github.com/cncf-tags/container-device-interface, SPEC.md). Each claim has a file. Everybody on the node can read it: it has
 * no secret.
 */

/** Vendor and class of the devices. */
const KIND = `${DRIVER}/claim`;

/** The first version with annotations. The container runtimes of Kubernetes 1.36 support it. */
const CDI_VERSION = "0.6.0";

/** The folder in containers that has a folder for each of their claims. */
const CONTAINER_FOLDER = "/run/bitfusion/leases";

/** Annotations that identify the claim, for the case that the driver's own record is lost. */
const ANNOTATIONS = { namespace: `${DRIVER}/namespace`, name: `${DRIVER}/name` } as const;

/**
 * The fully qualified name of a device of a claim, which the kubelet passes to the container runtime. The pod's status tells the health of
 * each such name.
 *
 * @param device as in the ResourceSlice.
 */
export function cdiDeviceName(uid: string, device: string): string {
  return `${KIND}=${nameOf(uid, device)}`;
}

function nameOf(uid: string, device: string): string {
  return `${uid}_${device}`;
}

/**
 * The content of a claim's CDI file. Equal claims have equal files. Its devices do the same, so that a container may get any of them. The first one,
 * which has the claim's uid as its name, is that of containers that an earlier version prepared.
 *
 * @param devices as in the ResourceSlice.
 * @param folder the claim's folder on the node. A container sees changes of its content: it is mounted, not copied.
 */
export function formatCdiSpec({ namespace, name, uid }: ClaimId, devices: Iterable<string>, folder: string): string {
  const mount = {
    hostPath: folder,
    containerPath: `${CONTAINER_FOLDER}/${uid}`,
    options: ["bind", "ro", "nosuid", "nodev", "noexec"],
  };
  const containerEdits = { env: [`${LEASES_VARIABLE}=${CONTAINER_FOLDER}`], mounts: [mount] };
  const names = [uid, ...new Set(Array.from(devices, (device) => nameOf(uid, device)))];
  const spec = {
    cdiVersion: CDI_VERSION,
    kind: KIND,
    annotations: { [ANNOTATIONS.namespace]: namespace, [ANNOTATIONS.name]: name },
    devices: names.map((name) => ({ name, containerEdits })),
  };
  return `${JSON.stringify(spec, undefined, 2)}\n`;
}

const Spec = v.object({
  annotations: v.object({ [ANNOTATIONS.namespace]: v.string(), [ANNOTATIONS.name]: v.string() }),
  devices: v.tuple([v.object({ name: v.string() })]),
});

/**
 * The claim of a CDI file: parses the output of {@link formatCdiSpec}.
 *
 * @throws {Error} names the field, its value and what is expected.
 */
export function parseCdiSpec(text: string): ClaimId {
  const result = v.safeParse(v.pipe(v.string(), v.parseJson(undefined, "expected JSON"), Spec), text);
  if (!result.success) throw new Error(describeIssue(result.issues[0]));
  const { annotations, devices } = result.output;
  return {
    namespace: annotations[ANNOTATIONS.namespace],
    name: annotations[ANNOTATIONS.name],
    uid: devices[0].name,
  };
}
