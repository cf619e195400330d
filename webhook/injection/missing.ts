import { Refusal } from "../pod/refusal.ts";
import { includes, type Json } from "./parts.ts";

/** Those of the additions that a list has not got yet. Something else under the same name is the user's. @throws {Refusal} */
export function missingFrom(list: readonly Json[] = [], additions: readonly Json[], what: string): readonly Json[] {
  const missing = additions.filter((addition) => {
    const { name } = addition; // read once, not for each element of a list that may be long
    const same = list.find((own) => own.name === name);
    if (same && !includes(same, addition)) throw collision(what, name);
    return !same;
  });
  return missing.length === additions.length ? additions : missing;
}

export function collision(what: string, name: unknown): Refusal {
  return new Refusal(
    "collision",
    `${what} "${name}" is the pod's own: expected another name, the client needs this one`,
  );
}
