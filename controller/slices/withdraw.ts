import { isStatus } from "../../kubernetes/error.ts";
import type { KubernetesRequest } from "../../kubernetes/request.ts";
import { RESOURCE_SLICES, type ResourceSlice } from "../../kubernetes/resource_slice.ts";
import { createBackoff } from "../../program/backoff.ts";
import { type Logger, messageOf } from "../../program/log/log.ts";
import type { ControllerMetrics } from "../metrics.ts";
import { SLICES_QUERY } from "./slice.ts";
import { writePlan } from "./write.ts";

export interface WithdrawOptions {
  request: KubernetesRequest;
  log: Logger;
  metrics: Pick<ControllerMetrics, "writes">;
}

/**
 * The work of the controller that leads where nothing is to be published: removes what was before, else claims are still given GPUs that
 * nobody looks after. Claims keep what they hold: an allocation does not end with its slice.
 */
export async function keepWithdrawn(options: WithdrawOptions, signal: AbortSignal): Promise<void> {
  const ended = new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
  const backoff = createBackoff();
  while (!signal.aborted) {
    try {
      await withdraw(options, signal);
      await ended;
    } catch (error) {
      if (signal.aborted) return;
      options.log.warn("Cannot remove the pool's slices", { reason: messageOf(error) });
      await backoff.wait(signal).catch(() => {}); // only the signal ends it early
    }
  }
}

async function withdraw({ request, log, metrics }: WithdrawOptions, signal: AbortSignal): Promise<void> {
  const removals = await readSlices(request, signal);
  await writePlan({ removals, changes: [], creations: [] }, { request, log, metrics, signal });
}

async function readSlices(request: KubernetesRequest, signal: AbortSignal): Promise<readonly ResourceSlice[]> {
  try {
    const answer = await request(RESOURCE_SLICES, { query: SLICES_QUERY, signal });
    return ((await answer.json()) as { items: ResourceSlice[] }).items;
  } catch (error) {
    if (isStatus(error, 404)) return []; // before Kubernetes 1.34
    throw error;
  }
}
