import type { DeviceTaintRule } from "../../kubernetes/objects/device_taint_rule.ts";
import type { Event } from "../../kubernetes/objects/event.ts";
import type { Pod } from "../../kubernetes/objects/pod.ts";
import type { ResourceClaim } from "../../kubernetes/objects/resource_claim.ts";
import type { DeviceTaint, ResourceSlice } from "../../kubernetes/objects/resource_slice.ts";
import type { DeviceAttributes } from "../../pool/attributes.ts";

/** What the API server says. A collection that is absent could not be read. */
export interface ClusterObjects {
  readonly slices?: Iterable<ResourceSlice> | undefined;
  readonly claims: Iterable<ResourceClaim>;
  /** Whether only some of the claims could be read, or none: nobody knows then what is free. */
  readonly lacksClaims?: boolean;
  readonly pods?: Iterable<Pod> | undefined;
  readonly events?: Iterable<Event> | undefined;
  readonly taintRules?: Iterable<DeviceTaintRule> | undefined;
}

/**
 * The pool as people see it. All lists are sorted, so that equal objects give equal views. Texts may come from tenants: control characters
 * in them are escaped, and nothing else.
 */
export interface PoolView {
  /** By address. */
  readonly servers: readonly ServerView[];
  /** All shares that the scheduler has allocated, each once, by namespace, pod and GPU. Each is also in `shares` of its GPU. */
  readonly holders: readonly HeldShare[];
  /** The pods that wait for a share: those of higher priority first, then those that wait longer. */
  readonly queue: readonly WaitingPod[];
  /** Owners of pods that cannot create them, because of their share: newest first. */
  readonly refusals: readonly Refusal[];
  /** What the objects do not agree on, in sentences. */
  readonly problems: readonly string[];
  readonly totals: Units & { readonly gpus: number; readonly servers: number };
}

/** Units of published GPUs: total = held + free + blocked, as long as no GPU is held beyond its capacity. */
export interface Units {
  readonly totalUnits: number;
  readonly heldUnits: number;
  /** What the scheduler can allocate now. */
  readonly freeUnits: number;
  /** What nobody holds, and the scheduler does not give to new pods. */
  readonly blockedUnits: number;
}

export interface ServerView extends Units {
  /** host:port. Empty for GPUs of which only claims tell. */
  readonly address: string;
  /** The server's name for itself. */
  readonly name: string;
  /** By id. */
  readonly gpus: readonly GpuView[];
  readonly reachable: boolean;
  /** The taints that all of its GPUs have. */
  readonly taints: readonly TaintView[];
  /** What its GPUs say about it: `hostname`, `cudaVersion`, `driverVersion`, `hasRdma`, `dataPlane`, `dataPlaneBuild`. */
  readonly attributes: DeviceAttributes;
}

/**
 * - `ok`: new pods can get units of it.
 * - `tainted`: an administrator keeps new pods away, by a DeviceTaintRule.
 * - `draining`, `unhealthy`, `unreachable`, `gone`: as the controller's taints say.
 * - `unpublished`: claims hold it, and no ResourceSlice has it.
 */
export type GpuState = "ok" | "tainted" | "draining" | "unhealthy" | "unreachable" | "gone" | "unpublished";

export interface GpuView extends Units {
  readonly id: string;
  /** Name of its device in ResourceSlices. */
  readonly device: string;
  /** Name of its resource pool, which has one slice. */
  readonly pool: string;
  /** Name of its ResourceSlice. Empty if it is not published. */
  readonly slice: string;
  /** host:port of its server. Empty if it is not known. */
  readonly server: string;
  readonly model: string;
  /** MB (1,000,000 bytes); 0 if it is not known. */
  readonly memoryMb: number;
  readonly state: GpuState;
  /** Whether its server reports no problem: states `ok`, `tainted` and `draining`. */
  readonly healthy: boolean;
  readonly taints: readonly TaintView[];
  /** The shares that hold it, by namespace and pod. */
  readonly shares: readonly HeldShare[];
  readonly attributes: DeviceAttributes;
}

export interface TaintView extends Pick<DeviceTaint, "key" | "value" | "effect"> {
  /** RFC 3339; empty if it is not known. */
  readonly since: string;
  /** The DeviceTaintRule that it comes from. Absent: the controller has set it. */
  readonly rule?: string;
}

/**
 * - `starting`: allocated; the driver has not taken the lease yet.
 * - `ready`, `failing`, `unknown`: what the driver says about the lease.
 * - `ending`: its pod has ended, is being deleted, or is gone.
 */
export type ShareState = "starting" | "ready" | "failing" | "unknown" | "ending";

/** Units of one GPU that a claim was allocated. */
export interface HeldShare {
  /** Unique in the view. */
  readonly id: string;
  readonly namespace: string;
  readonly claim: string;
  /** The pod that the claim is for; empty if it is for none. */
  readonly pod: string;
  readonly podUid: string;
  /** Other pods that may use the claim: only administrators can make such claims. */
  readonly otherPods: readonly string[];
  /** The containers that use it, in the order of the pod. */
  readonly containers: readonly string[];
  /** Empty before the pod is bound. */
  readonly node: string;
  readonly pool: string;
  readonly device: string;
  /** Id of the GPU; the name of its device if it is not known. */
  readonly gpu: string;
  /** host:port; empty if it is not known. */
  readonly server: string;
  readonly units: number;
  /** RFC 3339: since when the lease is held; before that, since when the claim exists. Empty if it is not known. */
  readonly since: string;
  readonly state: ShareState;
  /** What the driver says. Empty if it says nothing. */
  readonly message: string;
}

export interface WaitingPod {
  readonly namespace: string;
  readonly pod: string;
  readonly podUid: string;
  /** RFC 3339: since when the pod, or its claim, exists. Empty if it is not known. */
  readonly since: string;
  readonly priority: number;
  /** Why it waits, the most telling reason first. */
  readonly reasons: readonly string[];
  readonly requests: readonly RequestView[];
}

/** What a pod asks for with one claim. */
export interface RequestView {
  readonly claim: string;
  readonly containers: readonly string[];
  /** `60 % of one GPU that matches device.name=T4`. */
  readonly text: string;
  /** Number of different GPUs. */
  readonly count: number;
  /** Units of each of them. */
  readonly units: number;
}

/** An owner of pods, such as a ReplicaSet or a Job, whose pods the API server refuses. */
export interface Refusal {
  readonly namespace: string;
  readonly kind: string;
  readonly name: string;
  readonly message: string;
  /** RFC 3339: when it was refused last. */
  readonly lastSeen: string;
  readonly count: number;
}
