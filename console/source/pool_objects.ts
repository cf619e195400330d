import type { Node } from "../../kubernetes/objects/node.ts";
import type { Pod } from "../../kubernetes/objects/pod.ts";
import type { ResourceClaim } from "../../kubernetes/objects/resource_claim.ts";
import type { ResourceSlice } from "../../kubernetes/objects/resource_slice.ts";
import type { DeviceTaintRule } from "../objects/device_taint_rule.ts";
import type { KubernetesEvent } from "../objects/event.ts";

/** The objects of the API server that say who has which GPU, who waits, and why. */
export interface PoolObjects {
  /** Those of the driver. */
  readonly slices: readonly ResourceSlice[];
  /** Those that request GPUs of the pool, or hold some. */
  readonly claims: readonly ResourceClaim[];
  /** Those that use claims, or should get some. */
  readonly pods: readonly Pod[];
  /** The warnings of pods. */
  readonly events: readonly KubernetesEvent[];
  readonly taintRules: readonly DeviceTaintRule[];
  /** Empty unless they were asked for. */
  readonly nodes: readonly Node[];
}

/** The objects as far as they could be read. */
export interface PoolState {
  readonly objects: PoolObjects;
  /** Those that could not be read, in the order of {@link PoolObjects}. */
  readonly unread: readonly Unread[];
}

/** Objects that could not be read, or only those of one namespace. */
export interface Unread {
  readonly kind: keyof PoolObjects;
  /** Such as resourceslices.resource.k8s.io. */
  readonly resource: string;
  /** The namespace whose objects were read instead of all. Undefined: none were read. */
  readonly insteadOfAll?: string;
  /** A sentence that says why, and what to do. */
  readonly message: string;
}
