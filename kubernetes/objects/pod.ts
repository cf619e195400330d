import { parseInteger } from "../formats/quantity.ts";
import type { ApiObject } from "../watch.ts";
import type { NodeSelector } from "./node_selector.ts";
import type { OwnerReference } from "./owner_reference.ts";

/** Path of the collection of all pods. */
export const PODS = "/api/v1/pods";

/** The fields of a Pod (k8s.io/api/core/v1) that the programs use. */
export interface Pod extends ApiObject {
  readonly metadata: ApiObject["metadata"] & {
    readonly namespace: string;
    readonly creationTimestamp?: string;
    /** When the pod must have ended: the time of the deletion and its grace period. */
    readonly deletionTimestamp?: string;
    readonly annotations?: Readonly<Record<string, string>>;
    readonly labels?: Readonly<Record<string, string>>;
    readonly ownerReferences?: readonly OwnerReference[];
  };
  readonly spec: {
    readonly nodeName?: string;
    /** Labels that the node must have, with their values. */
    readonly nodeSelector?: Readonly<Record<string, string>>;
    readonly affinity?: {
      readonly nodeAffinity?: { readonly requiredDuringSchedulingIgnoredDuringExecution?: NodeSelector };
    };
    /** From its PriorityClass; 0 if absent. */
    readonly priority?: number;
    /** While it has some, the scheduler does not look at the pod. */
    readonly schedulingGates?: readonly { readonly name: string }[];
    readonly initContainers?: readonly Container[];
    readonly containers: readonly Container[];
    readonly volumes?: readonly Volume[];
    readonly resourceClaims?: readonly PodResourceClaim[];
    readonly preemptionPolicy?: "PreemptLowerPriority" | "Never";
    readonly tolerations?: readonly Toleration[];
  };
  readonly status?: PodStatus;
}

/** The taints that a pod tolerates. */
export interface Toleration {
  /** All keys, if it is absent or empty; the operator is then `Exists`. */
  readonly key?: string;
  readonly operator?: "Equal" | "Exists" | "Lt" | "Gt";
  readonly value?: string;
  /** All effects, if it is absent or empty. */
  readonly effect?: string;
}

export interface Container {
  readonly name: string;
  readonly image: string;
  /** `Always` for a sidecar among the init containers. */
  readonly restartPolicy?: string;
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
  readonly startTime?: string;
  readonly conditions?: readonly PodCondition[];
  /** Why the pod failed. */
  readonly message?: string;
  /** The claims that were made from templates. */
  readonly resourceClaimStatuses?: readonly { readonly name: string; readonly resourceClaimName: string }[];
  readonly containerStatuses?: readonly ContainerStatus[];
}

export interface PodCondition {
  readonly type: string;
  readonly status: string;
  /** In CamelCase. */
  readonly reason?: string;
  readonly message?: string;
}

export interface ContainerStatus {
  readonly name: string;
  readonly ready?: boolean;
  /** At most one of its fields is set; none means waiting. */
  readonly state?: {
    readonly waiting?: { readonly reason?: string; readonly message?: string };
    readonly running?: { readonly startedAt?: string };
    readonly terminated?: { readonly exitCode: number; readonly reason?: string; readonly message?: string };
  };
}

/** Path of a pod. */
export function podPath({ metadata: { namespace, name } }: Pick<Pod, "metadata">): string {
  return `/api/v1/namespaces/${encodeURIComponent(namespace)}/pods/${encodeURIComponent(name)}`;
}

/** Whether all containers of a pod have ended for good. */
export function hasEnded({ status }: Pod): boolean {
  return status?.phase === "Succeeded" || status?.phase === "Failed";
}

/** The containers of a pod. */
interface PodContainers<C> {
  readonly spec: { readonly initContainers?: readonly C[] | undefined; readonly containers: readonly C[] };
}

/**
 * What a pod needs of a resource: the maximum of what its app containers and sidecars need together, and of what each init container needs with
 * the sidecars that started before it (KEP-753).
 */
export function totalOfPod<C extends { readonly restartPolicy?: string | undefined }>(
  { spec }: PodContainers<C>,
  amountOf: (container: C) => number,
): number {
  let sidecars = 0;
  let maximum = 0;
  for (const container of spec.initContainers ?? []) {
    const amount = amountOf(container);
    if (container.restartPolicy === "Always") sidecars += amount;
    else maximum = Math.max(maximum, sidecars + amount);
  }
  return Math.max(
    maximum,
    spec.containers.reduce((total, container) => total + amountOf(container), sidecars),
  );
}

interface RequestingContainer {
  readonly restartPolicy?: string | undefined;
  readonly resources?:
    | { readonly limits?: Quantities | undefined; readonly requests?: Quantities | undefined }
    | undefined;
}

/**
 * The amount of an extended resource that scheduler and quotas count for a pod. A quantity that is not a whole number counts as 0: the API
 * server accepts none.
 */
export function requestedByPod(pod: PodContainers<RequestingContainer>, resource: string): number {
  return totalOfPod(
    pod,
    ({ resources }) => parseInteger(resources?.requests?.[resource] ?? resources?.limits?.[resource] ?? 0) ?? 0,
  );
}

/** The ResourceClaims that a pod uses, by their names in the pod. A claim that was not created from its template yet is left out. */
export function claimsOfPod({ spec, status }: Pick<Pod, "spec" | "status">): Map<string, string> {
  const claims = new Map<string, string>();
  for (const { name, resourceClaimName } of status?.resourceClaimStatuses ?? []) claims.set(name, resourceClaimName);
  for (const { name, resourceClaimName } of spec.resourceClaims ?? []) {
    if (resourceClaimName !== undefined) claims.set(name, resourceClaimName);
  }
  return claims;
}

/** The owner reference by which a pod controls an object: Kubernetes deletes the object with the pod. */
export function podReference({ metadata: { name, uid = "" } }: Pick<Pod, "metadata">): OwnerReference {
  return { apiVersion: "v1", kind: "Pod", name, uid, controller: true };
}
