/** What a refused pod is refused for: a label of the metrics. */
export type RefusalTopic =
  | "mode"
  | "share"
  | "filter"
  | "command"
  | "client"
  | "collision"
  | "parts"
  | "capacity"
  | "tokens";

/** A pod that cannot be admitted as it is. The message is for its user: the field, the value, what would be right. */
export class Refusal extends Error {
  override name = "Refusal";
  readonly topic: RefusalTopic;
  constructor(topic: RefusalTopic, message: string) {
    super(message);
    this.topic = topic;
  }
}
