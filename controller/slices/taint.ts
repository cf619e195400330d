import { formatTime } from "../../kubernetes/formats/time.ts";
import type { Device, DeviceTaint } from "../../kubernetes/objects/resource_slice.ts";
import { GONE_TAINT } from "../../pool/driver.ts";

/** Why new pods must not get a GPU. */
export interface Problem {
  readonly kind: ProblemKind;
  /** What its server says about it, as the value of a label. */
  readonly detail?: string | undefined;
}

export type ProblemKind =
  /** Its server does not answer. */
  | "unreachable"
  /** Its server reports it as unhealthy. */
  | "unhealthy"
  /** Its server is drained: it stops when the pods that hold its GPUs have ended. */
  | "draining"
  /** It is no longer part of the pool, but a claim still holds it; or no pool server is configured. */
  | "gone";

export interface TaintOptions {
  /** Current time, in ms since the epoch. */
  readonly now: number;
  /** How long a problem may last before the pods that hold the GPU are evicted, in ms. Undefined: pods are never evicted. */
  readonly evictAfter?: number | undefined;
}

/** The taints that are never NoExecute: the GPU is left to the pods that hold it. */
const LASTING_TAINTS: readonly string[] = [GONE_TAINT, "bitfusion.io/draining"];

/**
 * The taint for a GPU with a problem: NoSchedule at first, NoExecute once the problem has lasted for `evictAfter`. The duration is
 * computed from the taint that the device has, so neither a restart nor another detail resets it. A GPU that is gone, or whose server is
 * drained, is left to the pods that hold it.
 *
 * @param before the device as it is published now
 */
export function taintFor(problem: Problem, before: Device | undefined, options: TaintOptions): DeviceTaint {
  const { kind, detail } = problem;
  const key = `bitfusion.io/${kind}`;
  const value = detail === undefined ? {} : { value: detail };
  const current = before?.taints?.find((taint) => taint.key === key);
  const timeAdded = formatTime(options.now);
  if (!current) return { key, ...value, effect: "NoSchedule", timeAdded };
  const time = evictionTime(current, options);
  if (time !== undefined && time <= options.now) return { key, ...value, effect: "NoExecute", timeAdded };
  return current.value === detail ? current : { key, ...value, effect: current.effect, timeAdded: current.timeAdded };
}

/** When a taint becomes NoExecute, in ms since the epoch. Undefined if it never does, or already is. */
export function evictionTime(
  { key, effect, timeAdded }: DeviceTaint,
  { evictAfter }: TaintOptions,
): number | undefined {
  if (evictAfter === undefined || effect === "NoExecute" || LASTING_TAINTS.includes(key)) return undefined;
  return Date.parse(timeAdded) + evictAfter;
}
