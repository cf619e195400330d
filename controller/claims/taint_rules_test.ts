import { expect, test } from "bun:test";
import type { DeviceTaintRule } from "../../kubernetes/objects/device_taint_rule.ts";
import { applyTaintRules } from "./taint_rules.ts";

const gpu = (key: string) => ({ key, attributes: { memoryMb: 16_000 }, isTainted: false, held: 40, free: 60 });

function rule(device: string, effect: "NoSchedule" | "NoExecute" | "None"): DeviceTaintRule {
  const deviceSelector = { driver: "bitfusion.io", pool: "bitfusion-0", device };
  return { metadata: { name: device }, spec: { deviceSelector, taint: { key: "cordoned", effect } } };
}

test("applyTaintRules() leaves nothing free of a GPU that a rule keeps new pods from", () => {
  const gpus = [gpu("bitfusion-0/a"), gpu("bitfusion-0/b"), gpu("bitfusion-0/c"), gpu("bitfusion-1/a")];
  const rules = [rule("a", "NoSchedule"), rule("b", "NoExecute"), rule("c", "None")];
  expect(applyTaintRules(gpus, rules).map(({ isTainted, free }) => (isTainted ? `tainted ${free}` : free))).toEqual([
    "tainted 0",
    "tainted 0",
    60,
    60,
  ]);
});
