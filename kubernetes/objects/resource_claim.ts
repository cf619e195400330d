import type { ApiObject } from "../watch.ts";
import type { OwnerReference } from "./owner_reference.ts";

/** Path of the collection of all ResourceClaims. */
export const RESOURCE_CLAIMS = "/apis/resource.k8s.io/v1/resourceclaims";

/** Path of the collection of the ResourceClaims of a namespace. */
export function claimsPath(namespace: string): string {
  return `/apis/resource.k8s.io/v1/namespaces/${encodeURIComponent(namespace)}/resourceclaims`;
}

/** Path of a ResourceClaim. */
export function claimPath(namespace: string, name: string): string {
  return `${claimsPath(namespace)}/${encodeURIComponent(name)}`;
}

/** The fields of a ResourceClaim (k8s.io/api/resource/v1) that the programs use. */
export interface ResourceClaim extends ApiObject {
  readonly metadata: ApiObject["metadata"] & {
    readonly annotations?: Readonly<Record<string, string>>;
    readonly creationTimestamp?: string;
    readonly deletionTimestamp?: string;
    readonly ownerReferences?: readonly OwnerReference[];
  };
  readonly spec: ResourceClaimSpec;
  readonly status?: {
    readonly allocation?: { readonly devices?: { readonly results?: readonly DeviceAllocation[] } };
    /** The objects that may use the claim; in practice pods. */
    readonly reservedFor?: readonly ClaimConsumer[];
    /** What drivers tell about the allocated devices. The API server removes it when a device is no longer allocated. */
    readonly devices?: readonly DeviceStatus[];
  };
}

export interface ClaimConsumer {
  /** `pods` for a pod. */
  readonly resource: string;
  readonly name: string;
  readonly uid: string;
}

export interface ResourceClaimSpec {
  readonly devices?: {
    readonly requests?: readonly DeviceRequest[];
    readonly constraints?: readonly DeviceConstraint[];
  };
}

/** What the devices of requests must have in common, or not. Attributes have qualified names, such as `bitfusion.io/id`. */
export interface DeviceConstraint {
  /** All requests of the claim, if it is absent or empty. */
  readonly requests?: readonly string[];
  readonly matchAttribute?: string;
  readonly distinctAttribute?: string;
}

export interface DeviceRequest {
  readonly name?: string;
  /** Undefined for a request with alternatives (`firstAvailable`). */
  readonly exactly?: {
    readonly deviceClassName: string;
    readonly allocationMode?: "ExactCount" | "All";
    readonly count?: number;
    /** Quantities by capacity name. */
    readonly capacity?: { readonly requests?: Readonly<Record<string, string>> };
    readonly selectors?: readonly { readonly cel: { readonly expression: string } }[];
  };
}

/** A device that the scheduler allocated to a claim. */
export interface DeviceAllocation {
  readonly driver: string;
  readonly pool: string;
  readonly device: string;
  /** Name of the request, followed by a slash and the name of the alternative if it has several. */
  readonly request: string;
  /** Identifies one of several allocations of a device. */
  readonly shareID?: string;
  /** Quantities by capacity name. */
  readonly consumedCapacity?: Readonly<Record<string, string>>;
}

/** What a driver tells about an allocated device (AllocatedDeviceStatus). */
export interface DeviceStatus {
  readonly driver: string;
  readonly pool: string;
  readonly device: string;
  readonly shareID?: string;
  readonly conditions: readonly Condition[];
  /** For people and programs that know the driver. */
  readonly data?: Readonly<Record<string, string>>;
}

/** A condition of an object (apimachinery/pkg/apis/meta/v1). */
export interface Condition {
  readonly type: string;
  readonly status: "True" | "False" | "Unknown";
  /** In CamelCase. */
  readonly reason: string;
  readonly message: string;
  /** When the status changed last: RFC 3339. */
  readonly lastTransitionTime: string;
}

/** The pod that manages a claim: the claim was made for it. Undefined for a claim that no pod manages. */
export function controllingPod({ metadata }: Pick<ResourceClaim, "metadata">): OwnerReference | undefined {
  return metadata.ownerReferences?.find(({ controller, kind }) => controller && kind === "Pod");
}
