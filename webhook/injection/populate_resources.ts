import type { Client } from "../clients/catalogue.ts";
import type { Container, Pod } from "../pod/pod.ts";

type Resources = Client["resources"];

/** What alone decides a pod's QoS class (k8s.io/kubernetes/pkg/apis/core/v1/helper/qos/qos.go). */
const QOS_RESOURCES = ["cpu", "memory"] as const;

/**
 * Requests and limits of the init container in a pod: the client's own, but what the pod budgets as a whole (KEP-2837) is left to that budget,
 * which may be less; and a pod of QoS class Guaranteed stays one, so its requests are its limits.
 */
export function populateResources({ spec }: Pod, { resources }: Client): Resources {
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

/** Compared as text: the API server sends quantities in their canonical form. */
function hasFullRequests({ resources }: Container): boolean {
  return QOS_RESOURCES.every((name) => {
    const limit = resources?.limits?.[name];
    return (
      limit !== undefined && String(resources?.requests?.[name] ?? limit) === String(limit) && String(limit) !== "0"
    );
  });
}
