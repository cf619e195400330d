import { KubernetesError } from "../../kubernetes/error.ts";
import { messageOf } from "../../program/log/log.ts";

/** The ClusterRole that allows all that the console reads: examples/pool_viewer.yaml. */
const VIEWER_ROLE = "bitfusion-pool-viewer";

/** Where the rights are described. */
const RIGHTS = "docs/kubectl.md#rights";

/** Whether the API server refused a request for lack of a right. */
export function isForbidden(error: unknown): boolean {
  return error instanceof KubernetesError && error.code === 403;
}

/**
 * Says why a request failed, and what to do: `Cannot list resourceslices.resource.k8s.io: … Ask an administrator …`.
 *
 * @param what such as `list pods in all namespaces`
 * @param role the ClusterRole that has the right
 */
export function describeFailure(what: string, error: unknown, role: string = VIEWER_ROLE): string {
  if (isForbidden(error)) {
    return `Cannot ${what}: you lack the right (${reasonOf(error)}). Ask an administrator for the ClusterRole ${role}: ${RIGHTS}`;
  }
  if (error instanceof KubernetesError && error.code === 404 && error.object === undefined) {
    return `Cannot ${what}: the API server does not know this resource. It is of Kubernetes 1.34 and later`;
  }
  if (error instanceof KubernetesError && error.code === 401) {
    return `Cannot ${what}: the API server does not accept your credentials. Log in again`;
  }
  return `Cannot ${what}: ${messageOf(error)}`;
}

/** Says in one sentence that rights are missing. @param resources such as `pods` */
export function describeForbidden(resources: readonly string[]): string {
  const listed = new Intl.ListFormat("en-GB").format(resources);
  return `You lack the right to list ${listed} in all namespaces. Ask an administrator for the ClusterRole ${VIEWER_ROLE}: ${RIGHTS}`;
}

/** The API server's own words, without the call in front of them. */
function reasonOf(error: unknown): string {
  return messageOf(error).replace(/^\S+ \S+ answered \d+: /, "");
}
