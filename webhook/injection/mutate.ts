import { shorten } from "../../program/text/quote.ts";
import { ANNOTATIONS, NVIDIA_GPU, SHARE_LIMITS, UNITS } from "../pod/keys.ts";
import { readMode } from "../pod/mode.ts";
import { withSharesOfNvidiaGpus } from "../pod/nvidia_gpus.ts";
import { containersOf, isWindows, type Pod } from "../pod/pod.ts";
import { isInjected } from "../pod/requested_share.ts";
import { decidePod } from "../review/decide_pod.ts";
import type { AdmissionRequest, Decision } from "../review/review.ts";
import { type InjectionSettings, inject } from "./injection.ts";

/** Decides how a pod is patched. It reads and writes nothing. */
export function mutate(request: AdmissionRequest, settings: InjectionSettings): Decision {
  return decidePod(request, (pod) => {
    const mode = readMode(pod.metadata.annotations ?? {});
    if (mode === "off") return { result: "allowed", reason: "not_annotated", message: "Not annotated" };
    if (isWindows(pod)) return { result: "allowed", reason: "windows", message: "Windows pods are excluded" };
    const { readNvidiaGpu = true } = settings;
    const sharing = readNvidiaGpu ? withSharesOfNvidiaGpus(pod) : pod;
    const ineffective = readNvidiaGpu && sharing === pod ? warningsAboutPercent(pod) : [];
    const injection = inject(sharing, mode, settings);
    if (!injection) {
      const effect = `Annotation ${ANNOTATIONS.mode} has no effect`;
      const warnings = [`${effect}: no container has a limit ${SHARE_LIMITS.num} or ${UNITS}`, ...ineffective];
      return { result: "allowed", reason: "no_share", message: "No container requests a share", warnings };
    }
    const { patch, containers, needs } = injection;
    const warnings = [...injection.warnings, ...ineffective];
    if (patch.length === 0) {
      return { result: "allowed", reason: "already_injected", message: "Injected already", needs, warnings };
    }
    const message = `Injected into ${shorten(containers.join(", "))}`;
    return { result: "patched", reason: "injected", message, patch, needs, warnings };
  });
}

/** About a pod in which no container requests GPUs that the annotation is for. Those that were injected before may have done so. */
function warningsAboutPercent(pod: Pod): string[] {
  if (pod.metadata.annotations?.[ANNOTATIONS.percent] === undefined || containersOf(pod).some(isInjected)) return [];
  return [`Annotation ${ANNOTATIONS.percent} has no effect: no container has a limit ${NVIDIA_GPU}`];
}
