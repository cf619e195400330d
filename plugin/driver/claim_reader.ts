import { isObjectNotFound } from "../../kubernetes/error.ts";
import type { ResourceClaim } from "../../kubernetes/objects/resource_claim.ts";
import type { KubernetesRequest } from "../../kubernetes/request.ts";
import type { ReadClaim } from "./claim.ts";

/** Reads claims from the API server. */
export function createClaimReader(request: KubernetesRequest): ReadClaim {
  return async (claim, signal) => {
    const [namespace, name] = [claim.namespace, claim.name].map(encodeURIComponent);
    const path = `/apis/resource.k8s.io/v1/namespaces/${namespace}/resourceclaims/${name}`;
    try {
      const response = await request(path, { signal });
      return (await response.json()) as ResourceClaim;
    } catch (error) {
      if (isObjectNotFound(error)) return undefined;
      throw error;
    }
  };
}
