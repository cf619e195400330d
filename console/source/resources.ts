import { DEVICE_TAINT_RULES } from "../../kubernetes/objects/device_taint_rule.ts";
import { EVENTS, type Event } from "../../kubernetes/objects/event.ts";
import { NODES } from "../../kubernetes/objects/node.ts";
import { PODS, type Pod } from "../../kubernetes/objects/pod.ts";
import { RESOURCE_CLAIMS, type ResourceClaim } from "../../kubernetes/objects/resource_claim.ts";
import { RESOURCE_SLICES } from "../../kubernetes/objects/resource_slice.ts";
import type { ApiObject } from "../../kubernetes/watch.ts";
import { DEVICE_CLASS, DRIVER, DRIVER_SLICES } from "../../pool/driver.ts";
import { POD_CLAIMS_ANNOTATION } from "../../pool/pod_claims.ts";
import type { PoolKind } from "./pool_objects.ts";

/** How the objects of a kind are read. */
export interface Resource {
  readonly kind: PoolKind;
  /** Such as resourceslices.resource.k8s.io, as kubectl and RBAC name it. */
  readonly name: string;
  readonly isNamespaced: boolean;
  /** The paths of the collection in the versions of its API, the best first. */
  readonly paths: readonly string[];
  readonly query?: Readonly<Record<string, string>>;
  /** Whether an API server without the resource is as good as one with none of its objects. */
  readonly isOptional?: boolean;
  /** Whether the object is of the pool. */
  readonly isOfPool: (object: never) => boolean;
}

const all = () => true;

/** In the order of PoolObjects. */
export const RESOURCES: readonly Resource[] = [
  {
    kind: "slices",
    name: "resourceslices.resource.k8s.io",
    isNamespaced: false,
    paths: [RESOURCE_SLICES],
    query: DRIVER_SLICES,
    isOfPool: all,
  },
  {
    kind: "claims",
    name: "resourceclaims.resource.k8s.io",
    isNamespaced: true,
    paths: [RESOURCE_CLAIMS],
    isOfPool: isPoolClaim,
  },
  { kind: "pods", name: "pods", isNamespaced: true, paths: [PODS], isOfPool: isPoolPod },
  {
    kind: "events",
    name: "events",
    isNamespaced: true,
    paths: [EVENTS],
    query: { fieldSelector: "type=Warning" },
    isOfPool: isAboutPods,
  },
  {
    kind: "taintRules",
    name: "devicetaintrules.resource.k8s.io",
    isNamespaced: false,
    paths: DEVICE_TAINT_RULES,
    isOptional: true,
    isOfPool: all,
  },
  { kind: "nodes", name: "nodes", isNamespaced: false, paths: [NODES], isOfPool: all },
];

/** The path of a collection in one namespace, or in all. */
export function inNamespace(path: string, namespace: string | undefined): string {
  if (namespace === undefined) return path;
  const slash = path.lastIndexOf("/");
  return `${path.slice(0, slash)}/namespaces/${encodeURIComponent(namespace)}${path.slice(slash)}`;
}

/** An object without what nobody reads, and which is often the larger part of it. */
export function withoutManagedFields<T extends ApiObject>(object: T): T {
  const { managedFields: _, ...metadata } = object.metadata as T["metadata"] & { managedFields?: unknown };
  return { ...object, metadata };
}

/** Whether a claim requests GPUs of the pool, or holds some: a class may select devices of several drivers. */
function isPoolClaim({ spec, status }: ResourceClaim): boolean {
  const requests = spec.devices?.requests ?? [];
  const results = status?.allocation?.devices?.results ?? [];
  return (
    requests.some(({ exactly }) => exactly?.deviceClassName === DEVICE_CLASS) ||
    results.some(({ driver }) => driver === DRIVER)
  );
}

function isPoolPod({ metadata: { annotations }, spec }: Pod): boolean {
  return annotations?.[POD_CLAIMS_ANNOTATION] !== undefined || (spec.resourceClaims?.length ?? 0) > 0;
}

function isAboutPods({ involvedObject, reason }: Event): boolean {
  return involvedObject.kind === "Pod" || reason === "FailedCreate";
}
