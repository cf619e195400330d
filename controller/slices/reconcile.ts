import pLimit from "p-limit";
import type { OwnerReference } from "../../kubernetes/objects/owner_reference.ts";
import type { KubernetesRequest } from "../../kubernetes/request.ts";
import type { HeldUnits } from "../../pool/claims/device_key.ts";
import type { Inventory } from "../../pool/inventory.ts";
import { createLatest } from "../../program/latest.ts";
import { type Logger, messageOf } from "../../program/log/log.ts";
import type { ControllerMetrics } from "../metrics.ts";
import { createSlicePlanner } from "./plan.ts";
import { isUpToDate } from "./slice.ts";
import type { SliceStore } from "./slice_store.ts";
import { type SliceWrite, writesOf } from "./write.ts";

export interface SliceReconcilerOptions {
  request: KubernetesRequest;
  /** Kubernetes deletes the slices with it. */
  owner: OwnerReference;
  /** What is known now. */
  inventory: () => Inventory | undefined;
  slices: SliceStore;
  /** Undefined while not all claims are known. */
  held: () => HeldUnits | undefined;
  /** How long a GPU may have a problem before the pods that hold it are evicted, in ms. Undefined: pods are never evicted. */
  evictAfter?: number | undefined;
  /** Current time, in ms since the epoch. */
  now: () => number;
  log: Logger;
  metrics: Pick<ControllerMetrics, "writes" | "writeFailures">;
}

/** Keeps the slices in line with the pool. */
export interface SliceReconciler {
  /** Plans again: the inventory, a slice, or the list of claims has changed. Calls during a plan are merged into one. */
  trigger(): void;
  /** Plans again if one of these devices is published only because a claim held it. Any other release changes no slice. */
  onReleased(devices: readonly string[]): void;
  /** Returns when the signal is aborted. */
  run(signal: AbortSignal): Promise<void>;
}

/** First and longest time before a failed write of a slice is tried again, in ms. */
const RETRY = { initial: 200, max: 60_000 };

/** Requests that are sent at the same time. */
const CONCURRENCY = 4;

/** setTimeout() cannot wait longer than about 24.8 days; an early plan does no harm. */
const MAX_TIMEOUT = 3_600_000;

export function createSliceReconciler(options: SliceReconcilerOptions): SliceReconciler {
  const { request, owner, inventory, slices, held, evictAfter, now, log, metrics } = options;
  const planSlices = createSlicePlanner(owner);
  const limit = pLimit(CONCURRENCY);
  const triggered = createLatest({});
  const failures = createFailures(now);
  let warned: ReadonlyMap<string, string> = new Map();
  let keptForClaims: ReadonlySet<string> = new Set();

  /** Returns when to plan again, in ms since the epoch. */
  async function reconcile(signal: AbortSignal): Promise<number> {
    const [pool, units] = [inventory(), held()];
    if (!pool || !units || !slices.isSynced) return Number.POSITIVE_INFINITY;
    const state = { inventory: pool, slices: slices.slices.values(), held: units };
    const plan = planSlices(state, { now: now(), evictAfter });
    keptForClaims = plan.keptForClaims;
    warnAbout(plan.leftOut);
    const writes = writesOf(plan);
    failures.forgetOthers(writes.map(({ name }) => name));
    const due = writes.filter(({ name }) => !failures.isWaiting(name));
    await Promise.all(due.map((write) => limit(run, write, signal)));
    return Math.min(plan.nextEviction ?? Number.POSITIVE_INFINITY, failures.nextRetry());
  }

  async function run(write: SliceWrite, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return;
    const { operation, name, desired } = write;
    try {
      const change = await write.run(request, signal);
      metrics.writes.inc({ operation });
      log.info("ResourceSlice written", { operation, name, devices: desired?.devices.length ?? 0 });
      if (slices.apply(change)) triggered.set({});
      if (change.type === "put" && desired && !isUpToDate(change.object, desired)) {
        throw new Error("The API server stores another slice than was written"); // else it would be written again at once
      }
      failures.forget(name);
    } catch (error) {
      if (signal.aborted) return;
      metrics.writeFailures.inc({ operation });
      failures.add(name);
      log.warn("Cannot write a ResourceSlice", { operation, name, reason: messageOf(error) });
    }
  }

  function warnAbout(leftOut: ReadonlyMap<string, string>): void {
    for (const [gpu, reason] of leftOut) {
      if (warned.get(gpu) !== reason) log.warn("GPU is not published", { gpu, reason });
    }
    warned = leftOut;
  }

  return {
    trigger: () => triggered.set({}),
    onReleased(devices) {
      if (devices.some((device) => keptForClaims.has(device))) triggered.set({});
    },
    async run(signal) {
      let timer: ReturnType<typeof setTimeout> | undefined;
      try {
        for await (const _ of triggered.changes(signal)) {
          clearTimeout(timer);
          const next = await reconcile(signal);
          if (Number.isFinite(next)) {
            timer = setTimeout(() => triggered.set({}), Math.min(Math.max(0, next - now()), MAX_TIMEOUT));
          }
        }
      } finally {
        clearTimeout(timer);
      }
    },
  };
}

/** Failed writes by slice: one slice that cannot be written delays no other. */
function createFailures(now: () => number) {
  const failures = new Map<string, { count: number; retryAt: number }>();
  return {
    add(name: string): void {
      const count = (failures.get(name)?.count ?? 0) + 1;
      const wait = Math.min(RETRY.initial * 2 ** (count - 1), RETRY.max) * (0.5 + Math.random() / 2);
      failures.set(name, { count, retryAt: now() + wait });
    },
    forget: (name: string) => void failures.delete(name),
    /** A slice that needs no write any more needs no retry. */
    forgetOthers(names: readonly string[]): void {
      for (const name of failures.keys()) if (!names.includes(name)) failures.delete(name);
    },
    isWaiting: (name: string) => (failures.get(name)?.retryAt ?? 0) > now(),
    nextRetry: () => Math.min(...Array.from(failures.values(), ({ retryAt }) => retryAt)),
  };
}
