import { describeShare } from "../../../pool/share.ts";
import type { UnitQuota } from "../explain/quota.ts";
import type { Room } from "./room.ts";
import type { Admission, PodAdmission } from "./submit.ts";

/** What is known of a manifest that makes pods. */
export interface Checked {
  /** Such as job/train. */
  readonly name: string;
  readonly namespace: string;
  /** Pods that run at the same time. Undefined: one on each node. */
  readonly count: number | undefined;
  /** Of the object itself. */
  readonly object: Admission;
  /** Of one of its pods. Undefined if the object is refused. */
  readonly pod?: PodAdmission | undefined;
  /** Undefined if the pod asks for no claims. */
  readonly room?: Room | undefined;
  /** The quotas that count units. Undefined if they could not be read. */
  readonly quotas?: readonly UnitQuota[] | undefined;
}

/**
 * - `fits`: it is admitted, and all its pods find room now.
 * - `waits`: it is admitted, and some of its pods wait for room or for the quota.
 * - `refused`: the API server does not admit the object or its pods.
 * - `unknown`: it is admitted, and nobody can tell whether it finds room.
 * - `none`: it asks for no GPU of the pool.
 */
export type Outcome = "fits" | "waits" | "refused" | "unknown" | "none";

/** What becomes of a manifest if it is applied now. */
export interface Verdict {
  readonly name: string;
  readonly namespace: string;
  readonly outcome: Outcome;
  /** In sentences without a full stop. */
  readonly reasons: readonly string[];
  readonly warnings: readonly string[];
  readonly pods: number | undefined;
  /** What each of its pods asks for. */
  readonly requests: readonly string[];
}

/** Judges a manifest. @param isComplete whether all GPUs and claims of the pool could be read */
export function judge(checked: Checked, isComplete: boolean): Verdict {
  const { name, namespace, count, object, pod } = checked;
  const warnings = [...new Set([...object.warnings, ...(pod?.warnings ?? [])])];
  const requests = (pod?.claims ?? []).map(
    ({ share, containers }) => `${describeShare(share)} for ${containers.join(" and ")}`,
  );
  const verdict = (outcome: Outcome, ...reasons: string[]): Verdict => ({
    name,
    namespace,
    outcome,
    reasons,
    warnings,
    pods: count,
    requests,
  });
  if (!object.isAdmitted) return verdict("refused", object.refusal ?? "");
  if (!pod) return verdict("none", "It has no pod template");
  if (!pod.isAdmitted) return verdict("refused", `Its pods are refused: ${pod.refusal}`);
  if (pod.claims.length === 0) {
    if (pod.units === 0) return verdict("none", "Its pods ask for no GPU of the pool");
    return verdict(
      "unknown",
      `Its pods count ${pod.units} units and get no claims: in this cluster, each node counts units by itself`,
    );
  }
  return judgeRoom(checked, pod, isComplete, verdict);
}

function judgeRoom(
  { count = 1, room, quotas }: Checked,
  { units }: PodAdmission,
  isComplete: boolean,
  verdict: (outcome: Outcome, ...reasons: string[]) => Verdict,
): Verdict {
  const reasons = (quotas ?? []).flatMap(({ name, hard, used }) => {
    const allowed = units === 0 ? count : Math.max(0, Math.floor((hard - used) / units));
    const left = `${hard - used} of ${hard} units are left, and each pod counts ${units}`;
    return allowed >= count ? [] : [`The quota ${name} admits ${allowed} of ${count} pods: ${left}`];
  });
  if (!room || !isComplete)
    return verdict("unknown", ...reasons, "You may not read the whole pool: whether it has room is not known");
  if (room.fitting < count) {
    const found = `${room.isExact ? "" : "at least "}${room.fitting} of ${count} pods find room now`;
    const outcome = room.isExact ? "waits" : "unknown";
    return verdict(outcome, ...reasons, `${found}${room.shortage ? `: a pod ${room.shortage}` : ""}`);
  }
  if (reasons.length > 0) return verdict("waits", ...reasons);
  return verdict("fits", count === 1 ? "Its pod finds room now" : `All ${count} pods find room now`);
}

/** The statuses with which `fits` ends. */
const STATUSES: Readonly<Record<Outcome, number>> = { fits: 0, none: 0, unknown: 1, waits: 2, refused: 3 };

/** The worst status of verdicts. */
export function statusOf(verdicts: readonly Verdict[]): number {
  return Math.max(0, ...verdicts.map(({ outcome }) => STATUSES[outcome]));
}
