import type { Pod } from "./pod.ts";

type Affinity = NonNullable<Pod["spec"]["affinity"]>;

/** The affinity with a condition for one node in each of its terms, as the DaemonSet controller writes it: the terms are alternatives. */
export function withNode(affinity: Affinity = {}, node: string): Affinity {
  const { nodeAffinity = {} } = affinity;
  const { requiredDuringSchedulingIgnoredDuringExecution: required } = nodeAffinity;
  const isNode = { key: "metadata.name", operator: "In", values: [node] };
  const terms = required?.nodeSelectorTerms ?? [{}];
  return {
    ...affinity,
    nodeAffinity: {
      ...nodeAffinity,
      requiredDuringSchedulingIgnoredDuringExecution: {
        ...required,
        nodeSelectorTerms: terms.map((term) => ({ ...term, matchFields: [...(term.matchFields ?? []), isNode] })),
      },
    },
  };
}
