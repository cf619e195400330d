import { setTimeout as sleep } from "node:timers/promises";
import { isStatus } from "../kubernetes/error.ts";
import type { KubernetesRequest } from "../kubernetes/request.ts";
import { RESOURCE_SLICES, type ResourceSlice } from "../kubernetes/resource_slice.ts";
import { type Logger, messageOf } from "../program/log/log.ts";
import { deviceOf } from "./slices/device.ts";
import { sliceObject } from "./slices/slice.ts";
import { taintOf } from "./slices/taint.ts";

/** How often an API server is asked that does not answer, or does not offer it, in ms: it may be a newer one by then. */
const PERIOD = 60_000;

export interface OfferOptions {
  request: KubernetesRequest;
  log: Logger;
  /** Told what the API server does not offer. */
  onMissing: (what: string) => void;
  signal: AbortSignal;
}

/** Resolves once the API server offers what sharing a pool exactly takes, or when the signal is aborted. */
export async function untilOffered({ request, log, onMissing, signal }: OfferOptions): Promise<void> {
  let said: string | undefined;
  while (!signal.aborted) {
    const missing = await missingOffer(request, signal).catch((error) => `an answer: ${messageOf(error)}`);
    if (signal.aborted || missing === undefined) return;
    onMissing(missing);
    if (missing !== said) log.warn("The API server does not offer what exact sharing takes", { missing });
    said = missing;
    await sleep(PERIOD, undefined, { signal }).catch(() => {}); // only the signal ends it early
  }
}

/**
 * What the API server does not offer, asked by a dry run, for it drops the fields of a feature that is off: ResourceSlices (GA in 1.34), devices that
 * are shared by capacity (KEP-5075, since 1.36), and their taints (KEP-5055, since 1.36).
 */
async function missingOffer(request: KubernetesRequest, signal: AbortSignal): Promise<string | undefined> {
  const gpu = { id: "none", model: "none", memoryMb: 1, healthy: false };
  const device = deviceOf({ address: "none:1", reachable: false }, gpu, taintOf("gone", undefined, { now: 0 }));
  const body = { ...sliceObject({ name: "bitfusion-offer", devices: [device] }) };
  try {
    const answer = await request(RESOURCE_SLICES, { method: "POST", query: { dryRun: "All" }, body, signal });
    const { spec } = (await answer.json()) as ResourceSlice;
    const [kept] = spec.devices ?? [];
    if (!kept?.allowMultipleAllocations) return "devices that are shared by capacity (Kubernetes 1.36 and later)";
    return kept.taints?.length ? undefined : "taints of devices (Kubernetes 1.36 and later)";
  } catch (error) {
    if (isStatus(error, 404)) return "resource.k8s.io/v1 (Kubernetes 1.34 and later)";
    throw error;
  }
}
