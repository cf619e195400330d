/** Why a pod is refused: a label of the metrics. */
export type RefusalReason =
  | "mode"
  | "share"
  | "filter"
  | "command"
  | "client"
  | "collision"
  | "injection"
  | "capacity"
  | "claims"
  | "storage"
  | "tokens"
  | "quota"
  | "namespace";

/** A pod that cannot be admitted as it is. The message is for its user: the field, its value, and what is expected instead. */
export class Refusal extends Error {
  override name = "Refusal";
  readonly reason: RefusalReason;

  constructor(reason: RefusalReason, message: string) {
    super(message);
    this.reason = reason;
  }
}
