/** One of the terms must match (k8s.io/api/core/v1). */
export interface NodeSelector {
  readonly nodeSelectorTerms: readonly NodeSelectorTerm[];
}

/** All of its requirements must be met. A term without requirements matches no node. */
export interface NodeSelectorTerm {
  /** About labels. */
  readonly matchExpressions?: readonly NodeRequirement[];
  /** About fields: `metadata.name` only. */
  readonly matchFields?: readonly NodeRequirement[];
}

export interface NodeRequirement {
  readonly key: string;
  readonly operator: "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt";
  readonly values?: readonly string[];
}

/** What selectors look at. */
export interface SelectableNode {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
}

/** Whether a selector selects a node (k8s.io/component-helpers/scheduling/corev1/nodeaffinity). */
export function selectsNode({ nodeSelectorTerms }: NodeSelector, { name, labels }: SelectableNode): boolean {
  return nodeSelectorTerms.some(({ matchExpressions = [], matchFields = [] }) => {
    if (matchExpressions.length + matchFields.length === 0) return false;
    const isNamed = (requirement: NodeRequirement) => requirement.key === "metadata.name" && isMet(requirement, name);
    return matchExpressions.every((each) => isMet(each, labels[each.key])) && matchFields.every(isNamed);
  });
}

function isMet({ operator, values = [] }: NodeRequirement, value: string | undefined): boolean {
  switch (operator) {
    case "In":
      return value !== undefined && values.includes(value);
    case "NotIn":
      return value === undefined || !values.includes(value);
    case "Exists":
      return value !== undefined;
    case "DoesNotExist":
      return value === undefined;
    case "Gt":
      return Number(value) > Number(values[0]);
    case "Lt":
      return Number(value) < Number(values[0]);
  }
}
