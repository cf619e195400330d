import type { NodeSelector } from "../../kubernetes/objects/node_selector.ts";
import type { Pod } from "../../kubernetes/objects/pod.ts";

/** The values that labels of a pod's node may have, by label. The pod accepts a node that fits one of the terms. */
export type NodeChoice = readonly Readonly<Record<string, readonly string[]>>[];

/** Longest choice that is looked at, in characters: tenants can write any, and it is kept for as long as the pod waits. */
const MAX_CHOICE = 4096;

/**
 * The nodes that a pod selects, as far as it names values of labels (nodeSelector, and `In` of its required node affinity). Undefined: it names
 * none.
 */
export function nodeChoiceOf({ nodeSelector = {}, affinity }: Pod["spec"]): NodeChoice | undefined {
  const selected = Object.entries(nodeSelector).map(([key, value]) => [key, [value]] as const);
  const required = affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution?.nodeSelectorTerms ?? [{}];
  const choice = required.map(({ matchExpressions = [] }) => {
    const term = new Map<string, readonly string[]>(selected);
    for (const { key, operator, values = [] } of matchExpressions) {
      if (operator !== "In") continue;
      const before = term.get(key);
      term.set(key, before ? before.filter((value) => values.includes(value)) : values);
    }
    return Object.fromEntries(term);
  });
  const isAny = choice.some((term) => Object.keys(term).length === 0);
  return isAny || JSON.stringify(choice).length > MAX_CHOICE ? undefined : choice;
}

/** The labels by whose values the nodes of GPUs are limited. */
export function limitingLabels(gpus: readonly { readonly nodes?: NodeSelector | undefined }[]): ReadonlySet<string> {
  const selectors = new Set(gpus.map(({ nodes }) => nodes));
  const expressions = [...selectors].flatMap((nodes) =>
    (nodes?.nodeSelectorTerms ?? []).flatMap(({ matchExpressions = [] }) => matchExpressions),
  );
  return new Set(expressions.flatMap(({ key, operator }) => (operator === "In" ? key : [])));
}

/** The part of a choice that is about these labels. Undefined: it selects nothing by them. */
export function choiceAmong(choice: NodeChoice, labels: ReadonlySet<string>): NodeChoice | undefined {
  const terms = choice.map((term) => Object.fromEntries(Object.entries(term).filter(([key]) => labels.has(key))));
  return terms.some((term) => Object.keys(term).length === 0) ? undefined : terms;
}

/** Whether a node can fit both a pod's choice and the selector of a GPU. Labels that only one of them names exclude nothing. */
export function mayReach(choice: NodeChoice, nodes: NodeSelector | undefined): boolean {
  if (!nodes) return true;
  return choice.some((term) =>
    nodes.nodeSelectorTerms.some(({ matchExpressions = [] }) =>
      matchExpressions.every(({ key, operator, values = [] }) => {
        const chosen = term[key];
        return operator !== "In" || !chosen || values.some((value) => chosen.includes(value));
      }),
    ),
  );
}
