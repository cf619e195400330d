import pLimit from "p-limit";
import { NODES, type Node } from "../../kubernetes/objects/node.ts";
import type { Pod } from "../../kubernetes/objects/pod.ts";
import type { KubernetesRequest } from "../../kubernetes/request.ts";
import { watchObjects } from "../../kubernetes/watch.ts";
import { createBackoff } from "../../program/backoff.ts";
import { createLatest } from "../../program/latest.ts";
import { type Logger, messageOf } from "../../program/log/log.ts";
import { createFollowed, type Followed } from "../followed.ts";
import { type MarkChanges, missingMarks, type NodeMarks, readMarks, writeMarks } from "./node_marks.ts";
import { type NodePlacement, readPlacement } from "./placement.ts";
import { createReleasedNodes } from "./released_nodes.ts";

export interface ReadyNodesOptions {
  request: KubernetesRequest;
  /** The namespace of the driver's pods. */
  namespace: string;
  /** Gets all nodes. */
  nodes: Followed<FollowedNode>;
  log: Logger;
  /** Time between two looks at the pods of nodes whose kubelet has forgotten a device plugin, in ms. */
  period?: number;
}

/** What the controller keeps of a node. */
export type FollowedNode = NodeMarks & NodePlacement;

/** The label of the driver's pods (plugin/deploy/daemonset.yaml). */
const DRIVER_PODS = "app.kubernetes.io/name=bitfusion-device-plugin";

/** Requests that are sent at the same time. */
const CONCURRENCY = 10;

/**
 * Marks the nodes on which a pod of the driver is Ready, which means that the driver is registered with the kubelet. The slices select
 * nodes by the label, and the scheduler binds a pod with units only where there is a capacity. Other nodes lose the label. A mark that
 * somebody changes is restored. A node whose kubelet has forgotten a device plugin gets a capacity when no pod of the plugin's time runs there any
 * more. Failures are retried with backoff. Returns when the signal is aborted.
 */
export async function markReadyNodes(
  { request, namespace, nodes, log, period }: ReadyNodesOptions,
  signal: AbortSignal,
): Promise<void> {
  /** The nodes of the driver's Ready pods, by the pods' keys. */
  const readyPods = createFollowed<string>();
  const version = createLatest(0);
  const onChange = () => version.set((version.current ?? 0) + 1);

  const released = createReleasedNodes({
    request,
    log,
    zeroed: () => [...nodes.objects].flatMap(([node, { capacity }]) => (capacity === "zero" ? [node] : [])),
    onRelease: onChange,
    ...(period === undefined ? {} : { period }),
  });

  async function followPods(): Promise<void> {
    const path = `/api/v1/namespaces/${namespace}/pods`;
    const watch = { request, path, query: { labelSelector: DRIVER_PODS }, transform: readyNode, log };
    for await (const change of watchObjects<Pod, string>(watch, signal)) {
      readyPods.apply(change);
      onChange();
    }
  }

  async function followNodes(): Promise<void> {
    const transform = (node: Node) => ({ ...readMarks(node), ...readPlacement(node) });
    const watch = { request, path: NODES, transform, log };
    for await (const change of watchObjects<Node, FollowedNode>(watch, signal)) {
      if (!nodes.apply(change)) continue;
      if (change.type === "put") released.note(change.key, change.object.capacity);
      if (change.type === "replace") for (const [node, { capacity }] of change.objects) released.note(node, capacity);
      onChange();
    }
  }

  async function mark(node: string, marks: FollowedNode, missing: MarkChanges): Promise<void> {
    // Before the write: the watch may report it only after the next round, and a later change before the write is answered.
    const { label = marks.hasLabel, capacity } = missing;
    const written: FollowedNode = {
      ...marks,
      hasLabel: label,
      ...(capacity ? { capacity: "own", isAllocatable: true } : {}),
    };
    nodes.apply({ type: "put", key: node, object: written });
    await writeMarks(request, node, missing, signal).catch((error) => {
      nodes.apply({ type: "put", key: node, object: marks });
      throw error;
    });
    released.note(node, written.capacity);
    if (missing.label === undefined) return;
    log.info(missing.label ? "Node can run pods with a share" : "Node cannot run pods with a share", { node });
  }

  async function markNodes(): Promise<void> {
    const limit = pLimit(CONCURRENCY);
    const backoff = createBackoff();
    for await (const _ of version.changes(signal)) {
      if (!readyPods.isSynced || !nodes.isSynced) continue;
      const ready = new Set(readyPods.objects.values());
      const writes = [...nodes.objects].flatMap(([node, marks]) => {
        const missing = missingMarks(marks, { isReady: ready.has(node), isReleased: released.has(node) });
        return missing ? [limit(mark, node, marks, missing)] : [];
      });
      const results = await Promise.allSettled(writes);
      const failed = results.find((result) => result.status === "rejected");
      if (!failed) backoff.reset();
      else if (!signal.aborted) {
        log.warn("Cannot mark a node", { reason: messageOf(failed.reason) });
        await backoff.wait(signal).catch(() => {}); // rejects only when aborted
        onChange();
      }
    }
  }

  await Promise.all([followPods(), followNodes(), markNodes(), released.run(signal)]);
}

/** The node of a Ready pod of the driver. */
function readyNode({ metadata, spec, status }: Pod): string | undefined {
  const isReady = status?.conditions?.some((condition) => condition.type === "Ready" && condition.status === "True");
  return isReady && !metadata.deletionTimestamp ? spec.nodeName : undefined;
}
