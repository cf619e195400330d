import { type NodeSelector, selectsNode } from "../../kubernetes/objects/node_selector.ts";
import type { PodPlacement } from "../claims/scheduling.ts";
import { mayRunOn, type NodePlacement } from "../nodes/placement.ts";

/** GPUs that some nodes reach. */
export interface Reach {
  readonly selects: ReadonlySet<NodeSelector>;
  /** Names of the nodes that reach all of them. */
  readonly nodes: readonly string[];
}

/** The sets of GPUs that nodes reach, by the selectors of the GPUs. */
export function readReaches(
  nodes: ReadonlyMap<string, NodePlacement>,
  selectors: ReadonlySet<NodeSelector>,
): readonly Reach[] {
  const groups = new Map<string, { selects: Set<NodeSelector>; nodes: string[] }>();
  const indexed = [...selectors];
  for (const [name, { labels }] of nodes) {
    const selected = indexed.map((selector) => selectsNode(selector, { name, labels }));
    const key = selected.join();
    const group = groups.get(key) ?? { selects: new Set(indexed.filter((_, index) => selected[index])), nodes: [] };
    groups.set(key, group);
    group.nodes.push(name);
  }
  const reaches = [...groups.values()].filter(({ selects }) => selects.size > 0);
  return reaches.map(({ selects }) => ({
    selects,
    nodes: reaches.flatMap((other) => (selects.isSubsetOf(other.selects) ? other.nodes : [])),
  }));
}

/**
 * Whether a pod lacks nothing but units on at least one of these nodes. The scheduler says how many such nodes there are, and not which: it is
 * certain if there are more than nodes elsewhere on which the pod may run.
 *
 * @param count the nodes on which the pod lacks nothing but units
 */
export function isCertain(
  pod: PodPlacement,
  count: number,
  { nodes }: Reach,
  all: ReadonlyMap<string, NodePlacement>,
): boolean {
  const inside = new Set(nodes);
  let outside = 0;
  for (const [name, node] of all) if (!inside.has(name) && mayRunOn(pod, name, node)) outside++;
  return count > outside;
}
