import type { Device, DeviceTaint } from "../../kubernetes/resource_slice.ts";

/** Why no new pod may have a GPU. */
export type Trouble =
  /** Its server does not answer. */
  | "unreachable"
  /** Its server says so. */
  | "unhealthy"
  /** The pool has it no longer; a claim still holds it. */
  | "gone";

export interface TaintOptions {
  /** ms since the epoch. */
  readonly now: number;
  /** How long a GPU may be in trouble until the pods that hold it are evicted, in ms; never if absent. */
  readonly evictAfter?: number | undefined;
}

/**
 * The taint of a GPU in trouble: NoSchedule, and NoExecute once it has lasted. How long it has is read from the taint that it has, so
 * that a restart of anything does not begin anew. What the pool has no longer is left to those who hold it.
 */
export function taintOf(trouble: Trouble, before: Device | undefined, options: TaintOptions): DeviceTaint {
  const key = `bitfusion.io/${trouble}`;
  const last = before?.taints?.find((taint) => taint.key === key);
  const timeAdded = new Date(options.now).toISOString().replace(/\.\d+Z$/, "Z");
  if (!last) return { key, effect: "NoSchedule", timeAdded };
  const due = evictionTime(last, options);
  return due !== undefined && due <= options.now ? { key, effect: "NoExecute", timeAdded } : last;
}

/** When a taint is to become NoExecute, in ms since the epoch; undefined if never, or if it is one. */
export function evictionTime(
  { key, effect, timeAdded }: DeviceTaint,
  { evictAfter }: TaintOptions,
): number | undefined {
  if (evictAfter === undefined || effect === "NoExecute" || key === "bitfusion.io/gone") return undefined;
  return Date.parse(timeAdded) + evictAfter;
}
