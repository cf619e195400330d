import { setTimeout as sleep } from "node:timers/promises";
import { isStatus } from "../kubernetes/error.ts";
import { RESOURCE_SLICES, type ResourceSlice } from "../kubernetes/objects/resource_slice.ts";
import type { KubernetesRequest } from "../kubernetes/request.ts";
import { createBackoff } from "../program/backoff.ts";
import { type Logger, messageOf } from "../program/log/log.ts";
import { createDevice, withTaint } from "./slices/device.ts";
import { toResourceSlice } from "./slices/slice.ts";
import { taintFor } from "./slices/taint.ts";

/** Time between two attempts, in ms. The API server may have been upgraded in the meantime. */
const PERIOD = 60_000;

export interface ApiSupportOptions {
  request: KubernetesRequest;
  log: Logger;
  /** Called with what the API server does not support. */
  onMissing: (what: string) => void;
  signal: AbortSignal;
}

/**
 * Resolves once the API server supports what sharing by claims needs, or when the signal is aborted. A failed call is
 * retried with backoff.
 */
export async function waitForApiSupport({ request, log, onMissing, signal }: ApiSupportOptions): Promise<void> {
  const backoff = createBackoff();
  let logged: string | undefined;
  while (!signal.aborted) {
    try {
      const missing = await findMissing(request, signal);
      if (missing === undefined) return;
      onMissing(missing);
      if (missing !== logged) log.warn("The API server does not support sharing by claims", { missing });
      logged = missing;
      await sleep(PERIOD, undefined, { signal }).catch(() => {}); // rejects only when aborted
    } catch (error) {
      if (signal.aborted) return;
      log.warn("Cannot find out whether the API server supports sharing by claims", { reason: messageOf(error) });
      await backoff.wait(signal).catch(() => {}); // rejects only when aborted
    }
  }
}

/**
 * What the API server lacks of ResourceSlices (GA in 1.34), devices with shared capacity (KEP-5075, on by default since 1.36), and device
 * taints (KEP-5055, on by default since 1.36). A dry run tells: the API server drops the fields of disabled features.
 */
async function findMissing(request: KubernetesRequest, signal: AbortSignal): Promise<string | undefined> {
  const gpu = { id: "none", model: "none", memoryMb: 1, healthy: false };
  const device = createDevice({ address: "none:1", reachable: false }, gpu);
  const devices = [withTaint(device, taintFor("gone", undefined, { now: 0 }))];
  const body = toResourceSlice({ name: "bitfusion-dry-run", devices });
  try {
    const response = await request(RESOURCE_SLICES, { method: "POST", query: { dryRun: "All" }, body, signal });
    const { spec } = (await response.json()) as ResourceSlice;
    const [stored] = spec.devices ?? [];
    if (!stored?.allowMultipleAllocations) return "devices with shared capacity (Kubernetes 1.36 and later)";
    return stored.taints?.length ? undefined : "device taints (Kubernetes 1.36 and later)";
  } catch (error) {
    if (isStatus(error, 404)) return "resource.k8s.io/v1 (Kubernetes 1.34 and later)";
    throw error;
  }
}
