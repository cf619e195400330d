import pLimit from "p-limit";
import { NODES, type Node } from "../../kubernetes/objects/node.ts";
import type { KubernetesRequest } from "../../kubernetes/request.ts";
import { listObjects } from "../../kubernetes/watch.ts";
import { leftMarks, type MarkChanges, readMarks, writeMarks } from "./node_marks.ts";

/** Requests that are sent at the same time. */
const CONCURRENCY = 10;

/**
 * Removes from all nodes what the controller has written to them: the label, and its capacity of units. A capacity that a kubelet reports for a device
 * plugin stays. {@link markReadyNodes} must not run at the same time.
 *
 * @returns the names of the nodes that had something
 * @throws {KubernetesError} after all nodes have been tried
 */
export async function clearNodes(request: KubernetesRequest, signal: AbortSignal): Promise<string[]> {
  const limit = pLimit(CONCURRENCY);
  const transform = (node: Node) => leftMarks(readMarks(node));
  const { objects } = await listObjects<Node, MarkChanges>({ request, path: NODES, transform }, signal);
  const writes = [...objects].map(([node, left]) => limit(writeMarks, request, node, left, signal));
  const failed = (await Promise.allSettled(writes)).find((result) => result.status === "rejected");
  if (failed) throw failed.reason;
  return [...objects.keys()];
}
