import { Refusal } from "../pod/refusal.ts";

/** Refuses a pod that another webhook, or its user, has changed since it was injected. */
export function notInjected(what: string): Refusal {
  return new Refusal(
    "injection",
    `${what}: expected it as the webhook injects it; create the pod again from a manifest without injected parts`,
  );
}
