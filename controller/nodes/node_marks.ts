import { ignoreStatus } from "../../kubernetes/error.ts";
import { parseQuantity } from "../../kubernetes/formats/quantity.ts";
import { NODES, type Node } from "../../kubernetes/objects/node.ts";
import type { KubernetesRequest } from "../../kubernetes/request.ts";
import { READY_NODE_LABEL, RESOURCE_NAME } from "../../pool/driver.ts";

/**
 * The units that a node can run, as far as the scheduler counts by node. It is never in the way: claims say which GPUs a pod gets, and
 * units are there for quotas.
 */
const CAPACITY = "1G";

/**
 * Who wrote a node's capacity of units: nobody (`none`); the controller (`own`); a kubelet with a device plugin (`plugin`), also for the five minutes
 * after it ended, in which the kubelet fails new pods with units; or a kubelet that has forgotten a device plugin, or the node's status (`zero`).
 */
export type CapacitySource = "none" | "own" | "plugin" | "zero";

/** What the controller has written to a node. */
export interface NodeMarks {
  readonly hasLabel: boolean;
  readonly capacity: CapacitySource;
  /** Whether the scheduler may use all of the capacity. */
  readonly isAllocatable: boolean;
}

export function readMarks({ metadata, status }: Node): NodeMarks {
  const [capacity, allocatable] = [status?.capacity, status?.allocatable].map((list) => list?.[RESOURCE_NAME]);
  return {
    hasLabel: metadata.labels?.[READY_NODE_LABEL] !== undefined,
    capacity: sourceOf(capacity),
    isAllocatable: parseQuantity(allocatable ?? 0) === parseQuantity(capacity ?? 0),
  };
}

function sourceOf(capacity: string | undefined): CapacitySource {
  if (capacity === undefined) return "none";
  const units = parseQuantity(capacity);
  if (units === 0n) return "zero";
  return units === parseQuantity(CAPACITY) ? "own" : "plugin";
}

/** What has to be written to a node. */
export interface MarkChanges {
  /** Undefined: the label stays as it is. */
  readonly label?: boolean;
  /** Undefined: the capacity stays as it is. */
  readonly capacity?: boolean;
}

/** What is known about a node beside its marks. */
export interface NodeFacts {
  /** Whether the driver is ready there. */
  readonly isReady: boolean;
  /** Whether the kubelet holds no units of a device plugin. */
  readonly isReleased: boolean;
}

/**
 * What is missing from a node. The capacity stays while the driver is away: a kubelet that restarts checks the units of running pods. Undefined if
 * nothing is missing.
 */
export function missingMarks(marks: NodeMarks, { isReady, isReleased }: NodeFacts): MarkChanges | undefined {
  const { hasLabel, capacity, isAllocatable } = marks;
  const isLost = capacity === "none" || (capacity === "zero" && isReleased) || (capacity === "own" && !isAllocatable);
  return nonEmpty({
    ...(hasLabel === isReady ? {} : { label: isReady }),
    ...(isReady && isLost ? { capacity: true } : {}),
  });
}

/** What has to be removed from a node without claims. Undefined if nothing has. */
export function leftMarks({ hasLabel, capacity }: NodeMarks): MarkChanges | undefined {
  return nonEmpty({ ...(hasLabel ? { label: false } : {}), ...(capacity === "own" ? { capacity: false } : {}) });
}

function nonEmpty(changes: MarkChanges): MarkChanges | undefined {
  return Object.keys(changes).length > 0 ? changes : undefined;
}

/**
 * Sets or removes the marks of a node. A node that no longer exists is no failure.
 *
 * @throws {KubernetesError}
 */
export async function writeMarks(
  request: KubernetesRequest,
  node: string,
  { label, capacity }: MarkChanges,
  signal: AbortSignal,
): Promise<void> {
  signal.throwIfAborted();
  const patch = { method: "PATCH", contentType: "application/merge-patch+json", signal } as const;
  if (label !== undefined) {
    const body = { metadata: { labels: { [READY_NODE_LABEL]: label ? "true" : null } } };
    await ignoreStatus(404, request(`${NODES}/${node}`, { ...patch, body }));
  }
  if (capacity !== undefined) {
    const units = { [RESOURCE_NAME]: capacity ? CAPACITY : null };
    const body = { status: { capacity: units, allocatable: units } };
    await ignoreStatus(404, request(`${NODES}/${node}/status`, { ...patch, body }));
  }
}
