import { containsFields } from "../../kubernetes/objects/contains_fields.ts";
import type { JsonObject } from "../pod/json_object.ts";
import { Refusal } from "../pod/refusal.ts";

/**
 * The additions that a list of named objects lacks.
 *
 * @param kind of the objects, for the message
 * @throws {Refusal} if the list has another object with the name of an addition: it belongs to the user.
 */
export function missingFrom(
  list: readonly JsonObject[] = [],
  additions: readonly JsonObject[],
  kind: string,
): readonly JsonObject[] {
  const missing = new Map(additions.map((addition) => [addition.name, addition]));
  for (const object of list) {
    const addition = missing.get(object.name);
    if (!addition) continue;
    if (!containsFields(object, addition)) throw nameCollision(kind, object.name);
    missing.delete(object.name);
  }
  return [...missing.values()];
}

export function nameCollision(kind: string, name: unknown): Refusal {
  return new Refusal("collision", `${kind} "${name}": the client needs this name, expected another one`);
}
