import { parseQuantity } from "../../../kubernetes/formats/quantity.ts";
import { containersOf, type Pod } from "../../pod/pod.ts";

/**
 * What the sidecar requests, and its limits. It is one process of one thread, with less than 60 MB with 20 connections; each probe at the start
 * is another process. The disk space is for its log.
 */
const NEEDED = {
  cpu: { request: "50m", limit: "500m" },
  memory: { request: "64Mi", limit: "256Mi" },
  "ephemeral-storage": { request: "16Mi", limit: "64Mi" },
} as const;

type Quantity = string | number;
type Quantities = Record<string, Quantity>;

/**
 * The resources of the sidecar. It sets a request or a limit where a container of the pod does, since a LimitRange or a quota may require
 * them of every container. If the containers request their limits of a resource, so does the sidecar: the pod keeps its QoS class. It
 * shares what the pod as a whole sets (KEP-2837), and a pod that sets nothing stays BestEffort.
 */
export function forwardResources(pod: Pod): { requests: Quantities; limits: Quantities } {
  const own = containersOf(pod).map(({ resources }) => resources ?? {});
  const requests: Quantities = {};
  const limits: Quantities = {};
  for (const [name, { request, limit }] of Object.entries(NEEDED)) {
    if (pod.spec.resources?.limits?.[name] !== undefined || pod.spec.resources?.requests?.[name] !== undefined)
      continue;
    const isLimited = own.some((each) => each.limits?.[name] !== undefined);
    const isRequested = own.some((each) => each.requests?.[name] !== undefined);
    if (isLimited) limits[name] = limit;
    if (own.every((each) => requestsLimit(each.requests?.[name], each.limits?.[name]))) requests[name] = limit;
    else if (isLimited || isRequested) requests[name] = request;
  }
  return { requests, limits };
}

/** Whether a request equals its limit. The API server sets a request that is missing to the limit. */
function requestsLimit(request: Quantity | undefined, limit: Quantity | undefined): boolean {
  if (limit === undefined || request === undefined) return limit !== undefined;
  try {
    return parseQuantity(request) === parseQuantity(limit);
  } catch {
    return false; // the API server refuses the pod
  }
}
