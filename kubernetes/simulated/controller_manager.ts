import { hasEnded, PODS, type Pod, podReference } from "../objects/pod.ts";
import { claimPath, RESOURCE_CLAIMS, type ResourceClaim, type ResourceClaimSpec } from "../objects/resource_claim.ts";
import type { ObjectStore } from "./objects.ts";
import { setPodStatus } from "./pods.ts";

/** The fields of a ResourceClaimTemplate (k8s.io/api/resource/v1) that the controller copies. */
interface ResourceClaimTemplate {
  readonly spec: {
    readonly metadata?: { readonly annotations?: Readonly<Record<string, string>> };
    readonly spec: ResourceClaimSpec;
  };
}

/**
 * One round of the ResourceClaim controller of kube-controller-manager (pkg/controller/resourceclaim): makes the claims
 * that pods want from templates, and deletes the claims of pods that have ended or are gone.
 */
export function reconcileClaims(store: ObjectStore): void {
  const pods = store.list<Pod>(PODS).filter((pod) => !hasEnded(pod));
  for (const pod of pods) createFromTemplates(store, pod);
  const owners = new Set(pods.map(({ metadata }) => metadata.uid));
  for (const { metadata } of store.list<ResourceClaim>(RESOURCE_CLAIMS)) {
    const owner = metadata.ownerReferences?.find(({ kind }) => kind === "Pod");
    if (owner && !owners.has(owner.uid)) store.remove(claimPath(metadata.namespace ?? "", metadata.name));
  }
}

/** A template that does not exist is waited for. */
function createFromTemplates(store: ObjectStore, pod: Pod): void {
  const { namespace, name: podName } = pod.metadata;
  const statuses = [...(pod.status?.resourceClaimStatuses ?? [])];
  for (const { name, resourceClaimTemplateName } of pod.spec.resourceClaims ?? []) {
    if (resourceClaimTemplateName === undefined || statuses.some((status) => status.name === name)) continue;
    const path = `/apis/resource.k8s.io/v1/namespaces/${namespace}/resourceclaimtemplates/${resourceClaimTemplateName}`;
    const template = store.get<ResourceClaimTemplate>(path);
    if (!template) continue;
    const resourceClaimName = `${podName}-${name}-${crypto.randomUUID().slice(0, 5)}`;
    store.put(claimPath(namespace, resourceClaimName), {
      apiVersion: "resource.k8s.io/v1",
      kind: "ResourceClaim",
      metadata: {
        annotations: { ...template.spec.metadata?.annotations, "resource.kubernetes.io/pod-claim-name": name },
        ownerReferences: [podReference(pod)],
      },
      spec: template.spec.spec,
    });
    statuses.push({ name, resourceClaimName });
    setPodStatus(store, pod, { resourceClaimStatuses: statuses });
  }
}
