import { escapeControls, shorten } from "../../program/text/quote.ts";

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

/** Longest message, in characters. */
const MAX_MESSAGE = 2048;

/**
 * A pod that cannot be admitted as it is. The message is for its user: the field, its value, and what is expected instead. Control
 * characters are escaped, and a message of absurd length is shortened: tenants choose names and values.
 */
export class Refusal extends Error {
  override name = "Refusal";
  readonly reason: RefusalReason;

  constructor(reason: RefusalReason, message: string) {
    super(shorten(escapeControls(message), MAX_MESSAGE));
    this.reason = reason;
  }
}
