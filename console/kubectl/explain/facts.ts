import type { NetworkPolicy } from "../../../kubernetes/network_policies.ts";
import type { Event } from "../../../kubernetes/objects/event.ts";
import type { Node } from "../../../kubernetes/objects/node.ts";
import type { Pod } from "../../../kubernetes/objects/pod.ts";
import type { PoolView } from "../../view/types.ts";
import type { UnitQuota } from "./quota.ts";

/** What is known of a pod. What is undefined could not be read. */
export interface PodFacts {
  readonly pod: Pod;
  readonly view: PoolView;
  /** The warnings about the pod. */
  readonly events: readonly Event[];
  readonly namespaceLabels: Readonly<Record<string, string>> | undefined;
  /** Those that count units. */
  readonly quotas: readonly UnitQuota[] | undefined;
  readonly policies: readonly NetworkPolicy[] | undefined;
  /** That the pod is bound to. */
  readonly node: Node | undefined;
}
