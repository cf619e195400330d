/** A pod that cannot be admitted as it is. The message is for its user: the field, the value, what would be right. */
export class Refusal extends Error {
  override name = "Refusal";
}
