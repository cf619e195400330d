import { shorten } from "../../program/text/quote.ts";
import { ANNOTATIONS, SHARE_LIMITS, UNITS } from "../pod/keys.ts";
import { readMode } from "../pod/mode.ts";
import { isWindows } from "../pod/pod.ts";
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
      const warnings = [
        `Annotation ${ANNOTATIONS.mode} has no effect: no container has a limit ${SHARE_LIMITS.num} or ${UNITS}`,
      ];
      return { result: "allowed", reason: "no_share", message: "No container requests a share", warnings };
    }
    const { patch, containers, needs, warnings } = injection;
    if (patch.length === 0) {
      return { result: "allowed", reason: "already_injected", message: "Injected already", needs, warnings };
    }
    const message = `Injected into ${shorten(containers.join(", "))}`;
    return { result: "patched", reason: "injected", message, patch, needs, warnings };
  });
}
