import { applyPatch, type Operation } from "rfc6902";
import * as v from "valibot";
import type { Container, Pod } from "../../kubernetes/objects/pod.ts";

/** How long the API server waits for a webhook, in ms. */
const TIMEOUT = 10_000;

const Review = v.object({
  apiVersion: v.literal("admission.k8s.io/v1"),
  response: v.object({
    uid: v.string(),
    allowed: v.boolean(),
    patch: v.optional(v.string()),
    status: v.optional(v.object({ message: v.string() })),
  }),
});

/** A webhook for pods. */
export interface PodWebhook {
  /** https://host:port; the paths are /mutate and /validate. */
  readonly url: string;
  /** CA certificate, in PEM. */
  readonly caBundle: string;
}

/**
 * Admits a pod as the API server does: sets the defaults of its resources, calls the webhook over verified TLS, applies
 * its patch, and lets it validate the result. Returns the admitted pod.
 *
 * @throws {Error} with the webhook's message if it denies the pod.
 */
export async function admit(pod: Pod, { url, caBundle }: PodWebhook): Promise<Pod> {
  const object = withDefaults(pod);
  const patch = await review(`${url}/mutate`, object, caBundle);
  for (const error of applyPatch(object, patch)) if (error) throw error;
  await review(`${url}/validate`, object, caBundle);
  return object;
}

/** Sends the creation of a pod to a webhook. Returns its patch. */
async function review(url: string, object: Pod, ca: string): Promise<Operation[]> {
  const request = {
    uid: crypto.randomUUID(),
    kind: { group: "", version: "v1", kind: "Pod" },
    resource: { group: "", version: "v1", resource: "pods" },
    namespace: object.metadata.namespace,
    operation: "CREATE",
    object,
    dryRun: false,
  };
  const httpResponse = await fetch(url, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ apiVersion: "admission.k8s.io/v1", kind: "AdmissionReview", request }),
    tls: { ca },
    signal: AbortSignal.timeout(TIMEOUT),
  });
  const { response } = v.parse(Review, await httpResponse.json());
  if (response.uid !== request.uid) {
    throw new Error(`The webhook's review has uid "${response.uid}": expected "${request.uid}"`);
  }
  if (!response.allowed) throw new Error(response.status?.message ?? "The webhook denied the pod");
  return response.patch ? JSON.parse(Buffer.from(response.patch, "base64").toString()) : [];
}

/** Copies limits to requests that are not set (pkg/apis/core/v1/defaults.go), and converts quantities to strings. */
function withDefaults(pod: Pod): Pod {
  const { initContainers, containers } = pod.spec;
  const spec = {
    ...pod.spec,
    ...(initContainers ? { initContainers: initContainers.map(withRequests) } : {}),
    containers: containers.map(withRequests),
  };
  return structuredClone({ ...pod, spec });
}

function withRequests(container: Container): Container {
  const { limits, requests } = container.resources ?? {};
  if (!limits) return container;
  const quantities = Object.fromEntries(Object.entries(limits).map(([name, value]) => [name, String(value)]));
  return {
    ...container,
    resources: { ...container.resources, limits: quantities, requests: { ...quantities, ...requests } },
  };
}
