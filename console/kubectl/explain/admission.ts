import type { Container, Pod } from "../../../kubernetes/objects/pod.ts";
import { quote } from "../../../program/text/quote.ts";
import type { PodFacts } from "./facts.ts";
import type { Finding } from "./steps.ts";

/** The annotation by which the webhook acts on a pod, and the label of namespaces whose pods get it: docs/usage.md. */
const ANNOTATION = "auto-management/bitfusion";
const NAMESPACE_LABEL = "bitfusion.io/inject";

/** Namespaces whose pods the webhook never sees: webhook/deploy. */
const EXCLUDED = ["kube-system", "kube-public", "kube-node-lease", "bitfusion-system", "bitfusion-node"];

/** Values of the annotation with which the webhook leaves a pod alone. */
const OFF = ["none", "off", "false", "n", "no"];

/** Why a pod that exists has no share, and what to do about it. */
export function explainNoShare({ pod, namespaceLabels }: Pick<PodFacts, "pod" | "namespaceLabels">): Finding {
  const { namespace, annotations = {} } = pod.metadata;
  const mode = annotations[ANNOTATION];
  const requested = limitsOf(pod);
  const failed = (text: string, advice: string): Finding => ({ state: "failed", text, advice });
  if (requested.length === 0) {
    return failed(
      "No container of the pod requests GPUs of the pool",
      "Set the limits bitfusion.io/gpu-num and bitfusion.io/gpu-percent, or nvidia.com/gpu: docs/usage.md",
    );
  }
  const what = `The pod requests ${requested.join(", ")}`;
  if (EXCLUDED.includes(namespace)) {
    return failed(`${what}, but the webhook does not see pods of the namespace ${namespace}`, "Use another namespace");
  }
  if (mode !== undefined && OFF.includes(mode.toLowerCase())) {
    return failed(
      `${what}, but its annotation ${ANNOTATION} is ${quote(mode)}`,
      `Create the pod again with ${ANNOTATION}: "yes"`,
    );
  }
  if (mode === undefined && namespaceLabels?.[NAMESPACE_LABEL] !== "enabled") {
    return failed(
      `${what}, but neither the pod has the annotation ${ANNOTATION} nor its namespace the label ${NAMESPACE_LABEL}=enabled${namespaceLabels ? "" : " (as far as you may see)"}`,
      `Create the pod again with ${ANNOTATION}: "yes", or after kubectl label namespace ${namespace} ${NAMESPACE_LABEL}=enabled`,
    );
  }
  return failed(
    `${what}, but the webhook has not seen it: it was created before the webhook, or before its namespace was labelled`,
    "Create the pod again",
  );
}

/** The limits that request GPUs, each once. */
function limitsOf({ spec: { initContainers = [], containers } }: Pod): string[] {
  const keys = [...initContainers, ...containers].flatMap(({ resources }: Container) =>
    Object.keys(resources?.limits ?? {}),
  );
  return [...new Set(keys.filter((key) => key.startsWith("bitfusion.io/") || key === "nvidia.com/gpu"))].sort();
}
