import { isStatus } from "../../kubernetes/error.ts";
import { appliesTo, DEVICE_TAINT_RULES, type DeviceTaintRule } from "../../kubernetes/objects/device_taint_rule.ts";
import type { KubernetesRequest } from "../../kubernetes/request.ts";
import { listFirstVersion } from "../../kubernetes/watch.ts";
import { splitDeviceKey } from "../../pool/claims/device_key.ts";
import { DRIVER } from "../../pool/driver.ts";
import type { PublishedGpu } from "../../pool/requests/supply.ts";

/**
 * Lists the rules by which administrators keep pods from devices. None on an API server without them.
 *
 * @throws {KubernetesError}
 */
export async function listTaintRules(request: KubernetesRequest, signal: AbortSignal): Promise<DeviceTaintRule[]> {
  const transform = (rule: DeviceTaintRule) => rule;
  try {
    const { objects } = await listFirstVersion({ request, paths: DEVICE_TAINT_RULES, transform }, signal);
    return [...objects.values()];
  } catch (error) {
    if (isStatus(error, 404)) return [];
    throw error;
  }
}

/** The GPUs, of which those are tainted, too, that rules keep new pods from. Claims of the controller tolerate no taint. */
export function applyTaintRules(gpus: readonly PublishedGpu[], rules: readonly DeviceTaintRule[]): PublishedGpu[] {
  const repelling = rules.filter(({ spec }) => spec.taint.effect !== "None");
  if (repelling.length === 0) return [...gpus];
  return gpus.map((gpu) => {
    const device = { driver: DRIVER, ...splitDeviceKey(gpu.key) };
    return repelling.some((rule) => appliesTo(rule, device)) ? { ...gpu, isTainted: true, free: 0 } : gpu;
  });
}
