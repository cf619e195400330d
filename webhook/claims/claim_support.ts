import { isStatus } from "../../kubernetes/error.ts";
import type { KubernetesRequest } from "../../kubernetes/request.ts";

/** The fields of a ResourceClaimTemplate (k8s.io/api/resource/v1) that are read from the answer. */
interface Template {
  readonly spec: { readonly spec: { readonly devices?: { readonly requests?: readonly Request[] } } };
}

interface Request {
  readonly exactly?: { readonly capacity?: object };
}

/**
 * What the API server lacks of claims for a part of a device's capacity (KEP-5075, on by default since Kubernetes 1.36). Undefined if it
 * lacks nothing. A dry run tells, and the version does not: the API server drops the fields of disabled features.
 *
 * @param namespace where the webhook may create claim templates
 */
export async function findMissing(
  request: KubernetesRequest,
  namespace: string,
  signal: AbortSignal,
): Promise<string | undefined> {
  // Claims for the pool's own class are reserved for the controller.
  const exactly = { deviceClassName: "detection.bitfusion.io", capacity: { requests: { units: "1" } } };
  const body = {
    apiVersion: "resource.k8s.io/v1",
    kind: "ResourceClaimTemplate",
    metadata: { generateName: "bitfusion-detection-" },
    spec: { spec: { devices: { requests: [{ name: "gpu", exactly }] } } },
  };
  const path = `/apis/resource.k8s.io/v1/namespaces/${namespace}/resourceclaimtemplates`;
  try {
    const response = await request(path, { method: "POST", query: { dryRun: "All" }, body, signal });
    const { spec } = (await response.json()) as Template;
    const [stored] = spec.spec.devices?.requests ?? [];
    return stored?.exactly?.capacity ? undefined : "claims by capacity (Kubernetes 1.36 and later)";
  } catch (error) {
    if (isStatus(error, 404)) return "resource.k8s.io/v1 (Kubernetes 1.34 and later)";
    throw error;
  }
}
