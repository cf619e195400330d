import { ANNOTATIONS, SHARE_LIMITS, UNITS } from "../pod/keys.ts";
import { readMode } from "../pod/mode.ts";
import { containersOf, isWindows, quantityOf } from "../pod/pod.ts";
import { decidePod } from "../review/decide_pod.ts";
import type { AdmissionRequest, Decision } from "../review/review.ts";
import { type InjectionSettings, inject } from "./injection.ts";

/** Decides how a pod is patched. It reads and writes nothing. */
export function mutate(request: AdmissionRequest, settings: InjectionSettings): Decision {
  return decidePod(request, (pod) => {
    const mode = readMode(pod.metadata.annotations ?? {});
    if (mode === "off") return { result: "allowed", reason: "not_annotated", message: "Not annotated" };
    if (isWindows(pod)) return { result: "allowed", reason: "windows", message: "Windows pods are excluded" };
    const injection = inject(pod, mode, settings);
    if (!injection) {
      const hasUnits = containersOf(pod).some((container) => quantityOf(container, UNITS) !== undefined);
      const warnings = hasUnits
        ? []
        : [`Annotation ${ANNOTATIONS.mode} has no effect: no container has a limit ${SHARE_LIMITS.num} or ${UNITS}`];
      return { result: "allowed", reason: "no_share", message: "No container requests a share", warnings };
    }
    const { patch, containers, tokens, claimTemplates, warnings } = injection;
    return {
      result: "patched",
      reason: "injected",
      message: `Injected into ${containers.join(", ")}`,
      patch,
      tokens,
      claimTemplates,
      warnings,
    };
  });
}
