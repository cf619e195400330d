import type { EventRecorder } from "../kubernetes/events.ts";
import type { KubernetesRequest } from "../kubernetes/request.ts";
import { RESOURCE_CLAIMS, type ResourceClaim } from "../kubernetes/resource_claim.ts";
import { RESOURCE_SLICES, type ResourceSlice } from "../kubernetes/resource_slice.ts";
import { followObjects } from "../kubernetes/watch.ts";
import type { InventorySource } from "../pool/inventory.ts";
import type { Latest } from "../program/latest.ts";
import type { Logger } from "../program/log/log.ts";
import { keepReported } from "./claims/report.ts";
import type { ControllerMetrics } from "./metrics.ts";
import { keepPublished } from "./slices/publish.ts";
import { SLICES_QUERY } from "./slices/slice.ts";
import type { State } from "./state.ts";

export interface LeadOptions {
  request: KubernetesRequest;
  inventory: InventorySource;
  /** Where what is known is kept, for the metrics; empty before and afterwards. */
  state: Latest<State>;
  /** How long a GPU may be away until the pods that hold it are evicted, in ms; never if absent. */
  evictAfter?: number | undefined;
  record: EventRecorder;
  log: Logger;
  metrics: Pick<ControllerMetrics, "writes">;
}

/** The work of the controller that leads: knows the pool, the slices and the claims, and keeps the slices as the pool is. */
export async function lead(options: LeadOptions, signal: AbortSignal): Promise<void> {
  const { request, inventory, state, evictAfter, record, log, metrics } = options;
  const over = new AbortController();
  const untilOver = AbortSignal.any([signal, over.signal]);
  const follow = async <Key extends keyof State>(key: Key, source: AsyncIterable<NonNullable<State[Key]>>) => {
    for await (const value of source) state.set({ ...state.current, [key]: value });
  };
  const slices = { request, log, path: RESOURCE_SLICES, query: SLICES_QUERY };
  const parts = [
    follow("inventory", inventory(untilOver)),
    follow("slices", followObjects<ResourceSlice>(slices, untilOver)),
    follow("claims", followObjects<ResourceClaim>({ request, log, path: RESOURCE_CLAIMS }, untilOver)),
    keepPublished({ request, state, evictAfter, now: Date.now, log, metrics, signal: untilOver }),
    keepReported({ state, record, log, signal: untilOver }),
  ];
  try {
    await Promise.all(parts.map((part) => part.finally(() => over.abort()))); // the first that ends ends the others
  } finally {
    await Promise.allSettled(parts);
    state.set({}); // by the next time it is old
  }
}
