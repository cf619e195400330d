import { isStatus } from "../../kubernetes/error.ts";
import type { KubernetesRequest } from "../../kubernetes/request.ts";
import { RESOURCE_SLICES, type ResourceSlice } from "../../kubernetes/resource_slice.ts";
import type { Objects } from "../../kubernetes/watch.ts";
import type { Logger } from "../../program/log/log.ts";
import type { ControllerMetrics } from "../metrics.ts";
import type { Plan } from "./plan.ts";
import { type DesiredSlice, sliceObject } from "./slice.ts";

type Operation = "create" | "update" | "delete";

/** The part of a plan that is written. */
type Writes = Pick<Plan, "removals" | "changes" | "creations">;

export interface WriteOptions {
  request: KubernetesRequest;
  log: Logger;
  metrics: Pick<ControllerMetrics, "writes">;
  /** Nothing is begun once it is aborted. */
  signal: AbortSignal;
}

/** What was done to each slice, by name; with its resourceVersion afterwards, unless it was deleted. */
export type Written = ReadonlyMap<string, { operation: Operation; resourceVersion?: string | undefined }>;

/**
 * Does what a plan says. Each write is of one slice as it was seen: one that has been changed since is refused, and nothing is lost.
 *
 * @throws {KubernetesError} of the first write that is refused; those before it are done.
 */
export async function writePlan({ removals, changes, creations }: Writes, options: WriteOptions): Promise<Written> {
  const { log, metrics, signal } = options;
  const written = new Map<string, { operation: Operation; resourceVersion?: string | undefined }>();
  const request: KubernetesRequest = (path, rest) => {
    signal.throwIfAborted();
    return options.request(path, { signal, ...rest });
  };
  const onWritten = (operation: Operation, slice: { name: string; devices: number }) => {
    metrics.writes.inc({ operation });
    log.info("Slice written", { operation, ...slice });
  };
  const store = async (path: string, method: "PUT" | "POST", desired: DesiredSlice, current?: ResourceSlice) => {
    const answer = await request(path, { method, body: sliceObject(desired, current) });
    const { metadata } = (await answer.json()) as ResourceSlice;
    const operation = current ? "update" : "create";
    written.set(desired.name, { operation, resourceVersion: metadata.resourceVersion });
    onWritten(operation, { name: desired.name, devices: desired.devices.length });
  };
  for (const { metadata } of removals) {
    const { name, uid, resourceVersion } = metadata;
    const removal = request(`${RESOURCE_SLICES}/${name}`, {
      method: "DELETE",
      body: { preconditions: { uid, resourceVersion } },
    });
    await removal.catch((error) => {
      if (!isStatus(error, 404)) throw error; // gone is what it is to be
    });
    written.set(name, { operation: "delete" });
    onWritten("delete", { name, devices: 0 });
  }
  for (const { desired, current } of changes)
    await store(`${RESOURCE_SLICES}/${desired.name}`, "PUT", desired, current);
  for (const desired of creations) await store(RESOURCE_SLICES, "POST", desired);
  return written;
}

/** Whether what was written has come back by the watch, or something newer has. */
export function isSeen(written: Written, slices: Objects<ResourceSlice>): boolean {
  return [...written].every(([name, { operation, resourceVersion }]) => {
    const seen = slices.get(name)?.metadata.resourceVersion;
    if (seen === undefined) return operation !== "create"; // one that was updated has been deleted since
    // comparable since Kubernetes 1.35 (KEP-5504)
    return resourceVersion !== undefined && BigInt(seen) >= BigInt(resourceVersion);
  });
}
