import type { ResourceV1ResourceClaim } from "@kubernetes/client-node";
import { isMissing, type KubernetesRequest } from "../../kubernetes/client.ts";
import type { ReadClaim } from "./claim.ts";

/** Reads claims from the API server, with the deadline that each call to it has. */
export function createClaimReader(request: KubernetesRequest): ReadClaim {
  return async ({ namespace, name }, signal) => {
    const [inNamespace, itsName] = [namespace, name].map(encodeURIComponent);
    const path = `/apis/resource.k8s.io/v1/namespaces/${inNamespace}/resourceclaims/${itsName}`;
    try {
      const response = await request(path, { signal });
      return (await response.json()) as ResourceV1ResourceClaim;
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw error;
    }
  };
}
