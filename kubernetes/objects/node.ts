import type { ApiObject } from "../watch.ts";

/** Path of the collection of all nodes. */
export const NODES = "/api/v1/nodes";

/** The fields of a Node (k8s.io/api/core/v1) that the programs use. */
export interface Node extends ApiObject {
  readonly metadata: ApiObject["metadata"] & { readonly labels?: Readonly<Record<string, string>> };
  readonly spec?: {
    readonly taints?: readonly NodeTaint[];
    /** Whether the node is cordoned. */
    readonly unschedulable?: boolean;
  };
  readonly status?: {
    /** Quantities by resource: what the node has. */
    readonly capacity?: Readonly<Record<string, string>>;
    /** What the scheduler may use of it. */
    readonly allocatable?: Readonly<Record<string, string>>;
  };
}

export interface NodeTaint {
  readonly key: string;
  readonly value?: string;
  readonly effect: "NoSchedule" | "PreferNoSchedule" | "NoExecute";
}
