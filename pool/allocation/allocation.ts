import * as v from "valibot";

/** Who allocates GPUs to a pod: the scheduler (`claims`), or each node by counting units (`units`). */
export type Allocation = "claims" | "units";

/** A setting that is an {@link Allocation}. Nothing detects what the cluster supports: an installation is for one of the two. */
export function allocation() {
  return v.optional(v.picklist(["claims", "units"], "expected claims or units"), "claims");
}
