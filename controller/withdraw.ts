import { once } from "node:events";
import { isStatus } from "../kubernetes/error.ts";
import { RESOURCE_SLICES, type ResourceSlice } from "../kubernetes/objects/resource_slice.ts";
import type { KubernetesRequest } from "../kubernetes/request.ts";
import { createBackoff } from "../program/backoff.ts";
import { type Logger, messageOf } from "../program/log/log.ts";
import type { ControllerMetrics } from "./metrics.ts";
import { clearNodes } from "./nodes/clear_nodes.ts";
import { DRIVER_SLICES } from "./slices/slice.ts";
import { removal } from "./slices/write.ts";

export interface WithdrawOptions {
  request: KubernetesRequest;
  log: Logger;
  metrics: Pick<ControllerMetrics, "writes">;
}

/**
 * Removes all slices of the driver, so that the scheduler allocates no more GPUs, and then what the controller has written to nodes. Claims
 * keep what they hold: an allocation does not end with its slice. Failures are retried with backoff. Returns when the signal is aborted.
 */
export async function withdraw(options: WithdrawOptions, signal: AbortSignal): Promise<void> {
  const backoff = createBackoff();
  while (!signal.aborted) {
    try {
      await removeSlices(options, signal);
      for (const node of await clearNodes(options.request, signal)) options.log.info("Node cleared", { node });
      await once(signal, "abort");
    } catch (error) {
      if (signal.aborted) return;
      options.log.warn("Cannot withdraw the pool from the cluster", { reason: messageOf(error) });
      await backoff.wait(signal).catch(() => {}); // rejects only when aborted
    }
  }
}

async function removeSlices({ request, log, metrics }: WithdrawOptions, signal: AbortSignal): Promise<void> {
  for (const slice of await listSlices(request, signal)) {
    await removal(slice).run(request, signal);
    metrics.writes.inc({ operation: "delete" });
    log.info("ResourceSlice written", { operation: "delete", name: slice.metadata.name, devices: 0 });
  }
}

async function listSlices(request: KubernetesRequest, signal: AbortSignal): Promise<readonly ResourceSlice[]> {
  try {
    const response = await request(RESOURCE_SLICES, { query: DRIVER_SLICES, signal });
    return ((await response.json()) as { items: ResourceSlice[] }).items;
  } catch (error) {
    if (isStatus(error, 404)) return []; // Kubernetes before 1.34
    throw error;
  }
}
