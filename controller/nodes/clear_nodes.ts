import pLimit from "p-limit";
import { NODES, type Node } from "../../kubernetes/objects/node.ts";
import type { KubernetesRequest } from "../../kubernetes/request.ts";
import { leftMarks, readMarks, writeMarks } from "./node_marks.ts";

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
  const { items } = (await (await request(NODES, { signal })).json()) as { items: Node[] };
  const results = await Promise.allSettled(
    items.map((node) =>
      limit(async () => {
        const left = leftMarks(readMarks(node));
        if (!left) return [];
        await writeMarks(request, node.metadata.name, left, signal);
        return [node.metadata.name];
      }),
    ),
  );
  return results.flatMap((result) => {
    if (result.status === "rejected") throw result.reason;
    return result.value;
  });
}
