import { RESOURCE_CLAIMS, type ResourceClaim } from "../objects/resource_claim.ts";
import type { ApiObject } from "../watch.ts";
import type { ObjectStore } from "./objects.ts";

/** Path of the collection of all pods. */
export const PODS = "/api/v1/pods";

/** The fields of a Pod (k8s.io/api/core/v1) that the simulated parts of a cluster use. */
export interface Pod extends ApiObject {
  readonly metadata: ApiObject["metadata"] & {
    readonly namespace: string;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  readonly spec: {
    readonly nodeName?: string;
    readonly initContainers?: readonly Container[];
    readonly containers: readonly Container[];
    readonly volumes?: readonly Volume[];
    readonly resourceClaims?: readonly PodResourceClaim[];
  };
  readonly status?: PodStatus;
}

export interface Container {
  readonly name: string;
  readonly image: string;
  readonly command?: readonly string[];
  readonly args?: readonly string[];
  readonly env?: readonly {
    readonly name: string;
    readonly value?: string;
    readonly valueFrom?: { readonly fieldRef?: { readonly fieldPath: string } };
  }[];
  readonly resources?: {
    readonly limits?: Quantities;
    readonly requests?: Quantities;
    readonly claims?: readonly { readonly name: string }[];
  };
  readonly volumeMounts?: readonly { readonly name: string; readonly mountPath: string; readonly subPath?: string }[];
}

/** Strings in an admitted pod; manifests may also have numbers. */
type Quantities = Readonly<Record<string, string | number>>;

export interface Volume {
  readonly name: string;
  readonly emptyDir?: object;
  readonly hostPath?: { readonly path: string };
  readonly secret?: { readonly secretName: string };
}

/** A claim of a pod: the name of a ResourceClaim, or of the template that it is made from. */
export interface PodResourceClaim {
  readonly name: string;
  readonly resourceClaimName?: string;
  readonly resourceClaimTemplateName?: string;
}

export interface PodStatus {
  readonly phase?: "Pending" | "Running" | "Succeeded" | "Failed";
  /** Why the pod failed. */
  readonly message?: string;
  /** The claims that were made from templates. */
  readonly resourceClaimStatuses?: readonly { readonly name: string; readonly resourceClaimName: string }[];
  /** The containers that have ended. */
  readonly containerStatuses?: readonly {
    readonly name: string;
    readonly state: { readonly terminated: { readonly exitCode: number } };
  }[];
}

export function podPath({ metadata: { namespace, name } }: Pod): string {
  return `/api/v1/namespaces/${namespace}/pods/${name}`;
}

export function claimPath(namespace: string, name: string): string {
  return `${RESOURCE_CLAIMS.replace("/v1/", `/v1/namespaces/${namespace}/`)}/${name}`;
}

export function hasEnded({ status }: Pod): boolean {
  return status?.phase === "Succeeded" || status?.phase === "Failed";
}

/** Changes the status of a pod as it is stored now. Does nothing if the pod was deleted. */
export function setPodStatus(store: ObjectStore, pod: Pod, status: PodStatus): void {
  const current = store.get<Pod>(podPath(pod));
  if (current) store.put(podPath(pod), { ...current, status: { ...current.status, ...status } });
}

/** The claim of a pod by its name in the pod. Undefined if it does not exist yet. */
export function claimOf(store: ObjectStore, pod: Pod, name: string): ResourceClaim | undefined {
  const named = pod.spec.resourceClaims?.find((claim) => claim.name === name)?.resourceClaimName;
  const generated = pod.status?.resourceClaimStatuses?.find((claim) => claim.name === name)?.resourceClaimName;
  const claim = named ?? generated;
  return claim === undefined ? undefined : store.get<ResourceClaim>(claimPath(pod.metadata.namespace, claim));
}
