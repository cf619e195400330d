import { containsFields } from "../../kubernetes/objects/contains_fields.ts";
import { quote } from "../../program/text/quote.ts";
import type { JsonObject } from "../pod/json_object.ts";
import type { Pod } from "../pod/pod.ts";
import { Refusal } from "../pod/refusal.ts";

/**
 * The additions that a list of named objects lacks.
 *
 * @param kind of the objects, for the message, such as "Volume"
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
    if (!containsFields(object, addition)) throw nameCollision(kind, object.name, `a ${kind.toLowerCase()}`);
    missing.delete(object.name);
  }
  return [...missing.values()];
}

/**
 * Refuses a pod with a container that has the name of the injected init container: names are unique across all lists of containers.
 *
 * @throws {Refusal}
 */
export function refuseContainerName({ spec }: Pod, name: string): void {
  const { initContainers = [], containers, ephemeralContainers = [] } = spec;
  const lists = { "Init container": initContainers, Container: containers, "Ephemeral container": ephemeralContainers };
  for (const [kind, list] of Object.entries(lists)) {
    if (list.some((container) => container.name === name)) throw nameCollision(kind, name, "an init container");
  }
}

function nameCollision(kind: string, name: unknown, ours: string): Refusal {
  return new Refusal(
    "collision",
    `${kind} ${quote(String(name))}: the webhook adds ${ours} of this name, expected another name`,
  );
}
