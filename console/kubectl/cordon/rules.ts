import type { DeviceTaintRule } from "../../../kubernetes/objects/device_taint_rule.ts";
import { isManagedBy, managedBy } from "../../../kubernetes/objects/managed_by.ts";
import { DRIVER } from "../../../pool/driver.ts";
import type { GpuView } from "../../view/types.ts";
import { UserError } from "../user_error.ts";

/** The taint of GPUs that an administrator has cordoned. */
export const CORDON_TAINT = `${DRIVER}/cordoned`;

/** The value of the label app.kubernetes.io/managed-by of rules that this program writes. */
const MANAGER = "kubectl-bitfusion";

/** Annotations that tell people what a rule is for: its selector only has the name of a device. */
const ANNOTATIONS = { gpu: `${DRIVER}/gpu-id`, server: `${DRIVER}/server` } as const;

/**
 * What keeps pods from a GPU: `NoSchedule` leaves it to those that hold it, `NoExecute` evicts them. A GPU has one rule, whose name follows
 * from its device.
 */
export type CordonEffect = "NoSchedule" | "NoExecute";

/** What must be done with the rule of a GPU. */
export type RuleChange = {
  readonly gpu: GpuView;
  readonly name: string;
} & (
  | { readonly action: "create"; readonly rule: object }
  | { readonly action: "update"; readonly patch: object }
  | { readonly action: "delete" }
  /** Nothing: `reason` says how it is already, such as `is cordoned already`. */
  | { readonly action: "keep"; readonly reason: string }
);

/** The name of the rule for a GPU. A device has the same name in all slices, and no other GPU has it. */
function ruleName({ device }: Pick<GpuView, "device">): string {
  return `bitfusion-cordon-${device}`;
}

/**
 * The changes that give GPUs the taint, in the order of the GPUs. A GPU that is drained stays so.
 *
 * @param apiVersion of the rules, such as resource.k8s.io/v1
 * @throws {UserError} if a rule has the name of ours and is of somebody else.
 */
export function planCordon(
  gpus: readonly GpuView[],
  rules: readonly DeviceTaintRule[],
  { effect, apiVersion }: { effect: CordonEffect; apiVersion: string },
): RuleChange[] {
  return gpus.map((gpu): RuleChange => {
    const name = ruleName(gpu);
    const current = findRule(rules, name);
    if (!current) return { gpu, name, action: "create", rule: createRule(gpu, effect, apiVersion) };
    const before = current.spec.taint.effect;
    if (before === effect || before === "NoExecute") {
      return {
        gpu,
        name,
        action: "keep",
        reason: before === "NoExecute" ? "is drained already" : "is cordoned already",
      };
    }
    // The API server sets the time of the taint anew when the effect changes.
    return { gpu, name, action: "update", patch: { spec: { taint: { effect } } } };
  });
}

/** The changes that take the taint from GPUs. @throws {UserError} as {@link planCordon}. */
export function planUncordon(gpus: readonly GpuView[], rules: readonly DeviceTaintRule[]): RuleChange[] {
  return gpus.map((gpu): RuleChange => {
    const name = ruleName(gpu);
    return findRule(rules, name)
      ? { gpu, name, action: "delete" }
      : { gpu, name, action: "keep", reason: "is not cordoned" };
  });
}

function findRule(rules: readonly DeviceTaintRule[], name: string): DeviceTaintRule | undefined {
  const rule = rules.find(({ metadata }) => metadata.name === name);
  if (rule && !isManagedBy(rule as { metadata: { labels?: Record<string, string> } }, MANAGER)) {
    throw new UserError(
      `Cannot change the DeviceTaintRule ${name}: it lacks the label app.kubernetes.io/managed-by=${MANAGER}. Rename or delete it`,
    );
  }
  return rule;
}

function createRule(gpu: GpuView, effect: CordonEffect, apiVersion: string): object {
  return {
    apiVersion,
    kind: "DeviceTaintRule",
    metadata: {
      name: ruleName(gpu),
      labels: managedBy(MANAGER),
      annotations: { [ANNOTATIONS.gpu]: gpu.id, [ANNOTATIONS.server]: gpu.server },
    },
    spec: { deviceSelector: { driver: DRIVER, device: gpu.device }, taint: { key: CORDON_TAINT, effect } },
  };
}
