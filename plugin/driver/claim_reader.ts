import { isObjectNotFound } from "../../kubernetes/error.ts";
import type { ResourceClaim } from "../../kubernetes/objects/resource_claim.ts";
import type { KubernetesRequest } from "../../kubernetes/request.ts";
import type { ReadClaim } from "./claim.ts";

/** Reads claims from the API server, with the deadline that each call to it has. */
export function createClaimReader(request: KubernetesRequest): ReadClaim {
  return async ({ namespace, name }, signal) => {
    const [inNamespace, itsName] = [namespace, name].map(encodeURIComponent);
    const path = `/apis/resource.k8s.io/v1/namespaces/${inNamespace}/resourceclaims/${itsName}`;
    try {
      const response = await request(path, { signal });
      return (await response.json()) as ResourceClaim;
    } catch (error) {
      if (isObjectNotFound(error)) return undefined;
      throw error;
    }
  };
}
