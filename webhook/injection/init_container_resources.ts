import type { ClientDefinition } from "../clients/catalogue.ts";
import type { Container, Pod } from "../pod/pod.ts";

type Resources = ClientDefinition["resources"];

/** The resources that decide a pod's QoS class (k8s.io/kubernetes/pkg/apis/core/v1/helper/qos/qos.go). */
const QOS_RESOURCES = ["cpu", "memory"] as const;

/**
 * The resources of the init container: those of the client, with two exceptions. Resources that the pod sets as a whole (KEP-2837) are
 * left out, because the pod's budget may be smaller. In a pod of QoS class Guaranteed requests equal limits, so that it keeps its class.
 */
export function initContainerResources({ spec }: Pod, { resources }: ClientDefinition): Resources {
  const { limits, requests } = resources;
  if (spec.resources) {
    const budget = { ...spec.resources.limits, ...spec.resources.requests };
    return { requests: without(requests, budget), limits: without(limits, budget) };
  }
  const isGuaranteed = spec.containers.every(hasFullRequests) && (spec.initContainers ?? []).every(hasFullRequests);
  return isGuaranteed ? { requests: { ...requests, ...limits }, limits } : resources;
}

function without(quantities: Resources["limits"], budget: object): Resources["limits"] {
  return Object.fromEntries(Object.entries(quantities).filter(([name]) => !(name in budget)));
}

/** Whether requests equal limits. Strings are enough: the API server sends quantities in canonical form. */
function hasFullRequests({ resources }: Container): boolean {
  return QOS_RESOURCES.every((name) => {
    const limit = resources?.limits?.[name];
    return (
      limit !== undefined && String(resources?.requests?.[name] ?? limit) === String(limit) && String(limit) !== "0"
    );
  });
}
