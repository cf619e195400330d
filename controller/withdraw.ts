import { once } from "node:events";
import type { KubernetesRequest } from "../kubernetes/request.ts";
import { createBackoff } from "../program/backoff.ts";
import { type Logger, messageOf } from "../program/log/log.ts";
import type { ControllerMetrics } from "./metrics.ts";
import { clearNodes } from "./nodes/clear_nodes.ts";
import { removeSlices } from "./slices/remove_slices.ts";

export interface WithdrawOptions {
  request: KubernetesRequest;
  log: Logger;
  metrics: Pick<ControllerMetrics, "writes">;
}

/**
 * Removes all slices of the driver, so that the scheduler allocates no more GPUs, and then what the controller has written to nodes. Claims
 * keep what they hold: an allocation does not end with its slice. Failures are retried with backoff. Returns when the signal is aborted.
 */
export async function withdraw({ request, log, metrics }: WithdrawOptions, signal: AbortSignal): Promise<void> {
  const backoff = createBackoff();
  while (!signal.aborted) {
    try {
      for await (const name of removeSlices(request, signal)) {
        metrics.writes.inc({ operation: "delete" });
        log.info("ResourceSlice written", { operation: "delete", name, devices: 0 });
      }
      for (const node of await clearNodes(request, signal)) log.info("Node cleared", { node });
      await once(signal, "abort");
    } catch (error) {
      if (signal.aborted) return;
      log.warn("Cannot withdraw the pool from the cluster", { reason: messageOf(error) });
      await backoff.wait(signal).catch(() => {}); // rejects only when aborted
    }
  }
}
