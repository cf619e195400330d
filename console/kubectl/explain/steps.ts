/**
 * - `ok`: nothing is missing.
 * - `waiting`: the pod waits here.
 * - `failed`: somebody must do something.
 * - `unknown`: nobody can tell, or you may not read it.
 * - `later`: earlier steps come first.
 */
export type StepState = "ok" | "waiting" | "failed" | "unknown" | "later";

/** What is known of a step. */
export interface Finding {
  readonly state: StepState;
  /** What happened, or what is missing. */
  readonly text: string;
  /** What to do. */
  readonly advice?: string;
}

export type StepName = "admission" | "quota" | "claims" | "allocation" | "node" | "lease" | "gate" | "containers";

/** A step of a pod on its way to its GPUs. */
export interface Step extends Finding {
  readonly name: StepName;
}
