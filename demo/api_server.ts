import { applyPatch, type Operation } from "rfc6902";
import * as v from "valibot";

type Json = Record<string, unknown>;

const Review = v.object({
  apiVersion: v.literal("admission.k8s.io/v1"),
  response: v.object({
    uid: v.string(),
    allowed: v.boolean(),
    patch: v.optional(v.string()),
    status: v.optional(v.object({ message: v.string() })),
  }),
});

const PodResources = v.looseObject({
  metadata: v.looseObject({ namespace: v.string() }),
  spec: v.looseObject({
    containers: v.array(
      v.looseObject({
        resources: v.optional(
          v.looseObject({
            limits: v.optional(v.record(v.string(), v.unknown())),
            requests: v.optional(v.record(v.string(), v.unknown())),
          }),
        ),
      }),
    ),
  }),
});

export interface MutatingWebhook {
  /** https://host:port/path */
  readonly url: string;
  /** CA certificate, in PEM. */
  readonly caBundle: string;
}

/**
 * Creates a pod as the API server does: sets the defaults of its resources, calls the webhook over verified TLS, and
 * applies the patch. Returns the patched pod.
 *
 * @throws {Error} with the webhook's message if it denies the pod.
 */
export async function createPod<Pod extends object>(pod: Pod, { url, caBundle }: MutatingWebhook): Promise<Pod> {
  const object = withDefaults(pod);
  const request = {
    uid: crypto.randomUUID(),
    kind: { group: "", version: "v1", kind: "Pod" },
    resource: { group: "", version: "v1", resource: "pods" },
    namespace: v.parse(PodResources, object).metadata.namespace,
    operation: "CREATE",
    object,
    dryRun: false,
  };
  const httpResponse = await fetch(url, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ apiVersion: "admission.k8s.io/v1", kind: "AdmissionReview", request }),
    tls: { ca: caBundle },
    signal: AbortSignal.timeout(5000),
  });
  const { response } = v.parse(Review, await httpResponse.json());
  if (response.uid !== request.uid)
    throw new Error(`Expected uid ${request.uid} in the review's response: ${response.uid}`);
  if (!response.allowed) throw new Error(response.status?.message ?? "The webhook denied the request");
  if (response.patch) {
    const operations: Operation[] = JSON.parse(Buffer.from(response.patch, "base64").toString());
    for (const error of applyPatch(object, operations)) if (error) throw error;
  }
  return object;
}

/** Copies limits to requests that are not set (pkg/apis/core/v1/defaults.go), and converts quantities to strings. */
function withDefaults<Pod extends object>(pod: Pod): Pod {
  const copy = structuredClone(pod);
  for (const { resources } of (copy as { spec?: { containers?: { resources?: Json }[] } }).spec?.containers ?? []) {
    if (!resources?.limits) continue;
    const limits = Object.fromEntries(Object.entries(resources.limits).map(([name, value]) => [name, String(value)]));
    Object.assign(resources, { limits, requests: { ...limits, ...(resources.requests as Json | undefined) } });
  }
  return copy;
}
