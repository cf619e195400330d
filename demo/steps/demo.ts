import type { ObjectStore } from "../../kubernetes/simulated/objects.ts";
import type { Node } from "../node/node.ts";
import type { Driver } from "../programs/driver.ts";
import type { PoolServer } from "../programs/pool_server.ts";
import type { Webhook } from "../programs/webhook.ts";

/** What the steps of the demo share. */
export interface Demo {
  readonly servers: readonly PoolServer[];
  /** The objects of the simulated API server. */
  readonly store: ObjectStore;
  readonly webhook: Webhook;
  readonly driver: Driver;
  readonly node: Node;
  /** Folder that stands for the root of the node's file system. */
  readonly hostRoot: string;
  readonly signal: AbortSignal;
}
