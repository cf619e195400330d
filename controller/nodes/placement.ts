import type { Node, NodeTaint } from "../../kubernetes/objects/node.ts";
import { selectsNode } from "../../kubernetes/objects/node_selector.ts";
import type { Toleration } from "../../kubernetes/objects/pod.ts";
import type { PodPlacement } from "../claims/scheduling.ts";

/** What the scheduler looks at of a node, apart from what it has. */
export interface NodePlacement {
  readonly labels: Readonly<Record<string, string>>;
  /** Those that keep pods away. */
  readonly taints: readonly NodeTaint[];
}

/** The scheduler treats a cordoned node as one with this taint (pkg/scheduler/framework/plugins/nodeunschedulable). */
const CORDONED: NodeTaint = { key: "node.kubernetes.io/unschedulable", effect: "NoSchedule" };

export function readPlacement({ metadata, spec = {} }: Node): NodePlacement {
  const { taints = [], unschedulable } = spec;
  const repelling = taints.filter(({ effect }) => effect !== "PreferNoSchedule");
  return { labels: metadata.labels ?? {}, taints: unschedulable ? [...repelling, CORDONED] : repelling };
}

/** Whether a pod may run on a node, as far as labels and taints say. */
export function mayRunOn(pod: PodPlacement, name: string, { labels, taints }: NodePlacement): boolean {
  const { nodeSelector = {}, affinity, tolerations = [] } = pod;
  const required = affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution;
  return (
    Object.entries(nodeSelector).every(([key, value]) => labels[key] === value) &&
    (!required || selectsNode(required, { name, labels })) &&
    taints.every((taint) => tolerations.some((toleration) => tolerates(toleration, taint)))
  );
}

/** As Toleration.ToleratesTaint() of k8s.io/api/core/v1 does. */
function tolerates({ key, operator = "Equal", value = "", effect }: Toleration, taint: NodeTaint): boolean {
  if (effect && effect !== taint.effect) return false;
  if (key && key !== taint.key) return false;
  return operator !== "Equal" || value === (taint.value ?? "");
}
