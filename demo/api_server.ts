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
  /** In PEM. */
  readonly caBundle: string;
}

/**
 * What an API server does with a pod that is created: fills in the defaults of its resources, asks the webhook over TLS that it
 * verifies, and applies the patch.
 *
 * @throws {Error} with the webhook's message when it refuses the pod.
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
  const answer = await fetch(url, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ apiVersion: "admission.k8s.io/v1", kind: "AdmissionReview", request }),
    tls: { ca: caBundle },
    signal: AbortSignal.timeout(5000),
  });
  const { response } = v.parse(Review, await answer.json());
  if (response.uid !== request.uid)
    throw new Error(`Expected uid ${request.uid} in the review's response: ${response.uid}`);
  if (!response.allowed) throw new Error(response.status?.message ?? "The webhook denied the request");
  if (response.patch) {
    const operations: Operation[] = JSON.parse(Buffer.from(response.patch, "base64").toString());
    for (const error of applyPatch(object, operations)) if (error) throw error;
  }
  return object;
}

/** Limits count as requests where there are none (pkg/apis/core/v1/defaults.go), and quantities are text. */
function withDefaults<Pod extends object>(pod: Pod): Pod {
  const copy = structuredClone(pod);
  for (const { resources } of (copy as { spec?: { containers?: { resources?: Json }[] } }).spec?.containers ?? []) {
    if (!resources?.limits) continue;
    const limits = Object.fromEntries(Object.entries(resources.limits).map(([name, value]) => [name, String(value)]));
    Object.assign(resources, { limits, requests: { ...limits, ...(resources.requests as Json | undefined) } });
  }
  return copy;
}
