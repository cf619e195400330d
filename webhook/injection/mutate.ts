import { ANNOTATIONS, ASKED, UNITS } from "../pod/keys.ts";
import { readMode } from "../pod/mode.ts";
import { isWindows, type Pod, quantityOf } from "../pod/pod.ts";
import { decidePod } from "../review/pod_request.ts";
import type { AdmissionRequest, Decision } from "../review/review.ts";
import { type InjectionSettings, inject } from "./injection.ts";

/** Decides what a pod gets. Pure: nothing is read or written here. */
export function mutate(request: AdmissionRequest, settings: InjectionSettings): Decision {
  return decidePod(request, (pod) => {
    const mode = readMode(pod.metadata.annotations ?? {});
    if (mode === "off") return { result: "allowed", topic: "not_annotated", reason: "Not annotated" };
    if (isWindows(pod)) return { result: "allowed", topic: "windows", reason: "A Windows pod is left alone" };
    const injection = inject(pod, mode, settings);
    if (!injection) {
      const warnings = asksForUnits(pod)
        ? []
        : [`Annotation ${ANNOTATIONS.mode} does nothing: no container has a limit ${ASKED.num}`];
      return { result: "allowed", topic: "no_share", reason: "No container asks for a share", warnings };
    }
    const { patch, containers, tokens, claimTemplates, warnings } = injection;
    return {
      result: "patched",
      topic: "injected",
      reason: `Injected into ${containers.join(", ")}`,
      patch,
      tokens,
      claimTemplates,
      warnings,
    };
  });
}

function asksForUnits({ spec }: Pod): boolean {
  return [...(spec.initContainers ?? []), ...spec.containers].some(
    (container) => quantityOf(container, UNITS) !== undefined,
  );
}
