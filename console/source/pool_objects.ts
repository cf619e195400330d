import type { DeviceTaintRule } from "../../kubernetes/objects/device_taint_rule.ts";
import type { Event } from "../../kubernetes/objects/event.ts";
import type { Node } from "../../kubernetes/objects/node.ts";
import type { Pod } from "../../kubernetes/objects/pod.ts";
import type { ResourceClaim } from "../../kubernetes/objects/resource_claim.ts";
import type { ResourceSlice } from "../../kubernetes/objects/resource_slice.ts";

/** The objects of the API server that say who has which GPU, who waits, and why. A list that is absent could not be read. */
export interface PoolObjects {
  /** Those of the driver. */
  readonly slices?: readonly ResourceSlice[];
  /** Those that request GPUs of the pool, or hold some. Empty if they could not be read. */
  readonly claims: readonly ResourceClaim[];
  /** Whether only the claims of one namespace, or none, could be read instead of all. */
  readonly lacksClaims: boolean;
  /** Those that use claims, or should get some. */
  readonly pods?: readonly Pod[];
  /** The warnings about pods, and about owners whose pods are refused. */
  readonly events?: readonly Event[];
  readonly taintRules?: readonly DeviceTaintRule[];
  /** Absent unless they were asked for. */
  readonly nodes?: readonly Node[];
}

/** The lists of {@link PoolObjects}. */
export type PoolKind = Exclude<keyof PoolObjects, "lacksClaims">;

/** The objects as far as they could be read. */
export interface PoolState {
  readonly objects: PoolObjects;
  /** Those that could not be read, in the order of {@link PoolObjects}. */
  readonly unread: readonly Unread[];
}

/** Objects that could not be read, or only those of one namespace. */
export interface Unread {
  readonly kind: PoolKind;
  /** Such as resourceslices.resource.k8s.io. */
  readonly resource: string;
  /** The namespace whose objects were read instead of all. Undefined: none were read. */
  readonly insteadOfAll?: string;
  /** Whether a right is missing. */
  readonly isForbidden: boolean;
  /** A sentence that says why, and what to do. */
  readonly message: string;
}
