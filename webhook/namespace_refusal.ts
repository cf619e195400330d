import { KubernetesError } from "../kubernetes/error.ts";
import { Refusal } from "./pod/refusal.ts";

/**
 * The refusal of a pod for which the webhook may not create what it needs: a quota of the namespace is used up, or the
 * namespace is being deleted. Undefined for any other error.
 *
 * @param error of a call in the namespace
 */
export function refusalByNamespace(error: unknown, namespace: string): Refusal | undefined {
  if (!(error instanceof KubernetesError) || error.code !== 403) return undefined;
  if (error.causes.includes("NamespaceTerminating")) {
    return new Refusal("namespace", `Namespace "${namespace}" is being deleted: create the pod in another one`);
  }
  // The text of the admission plugin ResourceQuota (k8s.io/apiserver/pkg/admission/plugin/resourcequota).
  const [quota] = /exceeded quota: .*/.exec(error.message) ?? [];
  if (quota === undefined) return undefined;
  const what = `Cannot create what the pod needs in namespace "${namespace}"`;
  return new Refusal("quota", `${what}: ${quota}: raise the quota, or delete what it counts`);
}
