import { quote } from "../../program/text/quote.ts";
import type { Pod } from "../pod/pod.ts";

/** The scheduler of pods that name none. It allocates claims. */
const DEFAULT_SCHEDULER = "default-scheduler";

/**
 * A warning about a pod whose scheduler may not allocate claims, at most 120 characters. Such a scheduler binds the pod, and the kubelet waits
 * for claims that nobody allocates. Undefined for schedulers that are known to allocate them.
 */
export function checkScheduler({ spec }: Pod, known: readonly string[] = []): string | undefined {
  const { schedulerName = DEFAULT_SCHEDULER } = spec;
  if (schedulerName === DEFAULT_SCHEDULER || known.includes(schedulerName)) return undefined;
  const warning = "The pod never starts unless its scheduler supports ResourceClaims with consumable capacity";
  return `${warning}: ${quote(schedulerName)}`.slice(0, 120); // a cut name is better than a cut sentence
}
