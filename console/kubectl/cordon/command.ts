import { Command, Option } from "commander";
import type { KubernetesRequest } from "../../../kubernetes/request.ts";
import type { KubectlContext } from "../context.ts";
import { addConnectionOptions, type ConnectionFlags, open } from "../options.ts";
import { readView } from "../show.ts";
import { parseTimeout } from "../timeout.ts";
import { UserError } from "../user_error.ts";
import { applyChange, readTaintRules, type TaintRules } from "./apply_rules.ts";
import { drain } from "./drain.ts";
import { CORDON_TAINT, planCordon, planUncordon, type RuleChange } from "./rules.ts";
import { findTargets } from "./targets.ts";

interface CordonFlags extends ConnectionFlags {
  readonly dryRun?: boolean;
  readonly output?: "name";
}

interface DrainFlags extends CordonFlags {
  readonly force?: boolean;
  readonly timeout: number;
}

const TARGETS = "servers or GPUs, as kubectl bitfusion pool names them; server/ or gpu/ in front says which";

/** `kubectl bitfusion cordon`, `uncordon` and `drain`. */
export function cordonCommands(context: KubectlContext): Command[] {
  const cordon = create("cordon", "keep new pods from GPUs, or from all GPUs of servers")
    .addHelpText(
      "after",
      `
Writes a DeviceTaintRule for each GPU, which taints it with ${CORDON_TAINT}:NoSchedule. Pods that hold it go on. A GPU that a server
gets later is not cordoned. Needs Kubernetes 1.37.`,
    )
    .action(async (targets: string[], flags: CordonFlags) => {
      const { gpus, rules, request } = await prepare(context, targets, flags);
      const changes = planCordon(gpus, rules.rules, { effect: "NoSchedule", apiVersion: rules.apiVersion });
      await apply(context, changes, { request, rules, flags, done: "cordoned" });
    });
  const uncordon = create("uncordon", "let new pods get GPUs again that were cordoned or drained").action(
    async (targets: string[], flags: CordonFlags) => {
      const { gpus, rules, request } = await prepare(context, targets, flags);
      await apply(context, planUncordon(gpus, rules.rules), { request, rules, flags, done: "uncordoned" });
      for (const { id, state } of gpus) {
        if (state !== "ok" && state !== "tainted")
          context.terminal.warn(`gpu/${id} still gets no new pods: it is ${state}`);
      }
    },
  );
  const drainCommand = create("drain", "cordon GPUs, or all GPUs of servers, and evict the pods that hold them")
    .option("--force", "evict pods without a controller too: nothing creates them again")
    .addOption(
      new Option(
        "--timeout <duration>",
        "how long to wait until the pods have released the GPUs, such as 90s or 10m; 0 does not wait",
      )
        .argParser(parseTimeout)
        .default(600_000, "10m"),
    )
    .addHelpText(
      "after",
      `
Shows which pods hold the GPUs, taints each GPU with ${CORDON_TAINT}:NoExecute by a DeviceTaintRule, and waits until no claim holds it.
Kubernetes deletes the pods with their grace periods. It does not ask their PodDisruptionBudgets. The GPUs stay drained until they are
uncordoned. Needs Kubernetes 1.37.`,
    )
    .action(async (targets: string[], { timeout, force = false, ...flags }: DrainFlags) => {
      const { gpus, rules, request, view, state } = await prepare(context, targets, flags);
      const unread = state.unread.find(({ kind }) => kind === "claims" || kind === "pods");
      if (unread) throw new UserError(`Cannot tell whom a drain would evict. ${unread.message}`);
      const changes = planCordon(gpus, rules.rules, { effect: "NoExecute", apiVersion: rules.apiVersion });
      await drain(context, {
        gpus,
        view,
        pods: state.objects.pods ?? [],
        request,
        force,
        dryRun: flags.dryRun ?? false,
        timeout,
        taint: () => apply(context, changes, { request, rules, flags, done: "drained" }),
      });
    });
  return [cordon, uncordon, drainCommand];
}

function create(name: string, description: string): Command {
  const command = new Command(name)
    .description(description)
    .argument("<target...>", TARGETS)
    .option("--dry-run", "let the API server check the changes, and change nothing")
    .addOption(new Option("-o, --output <format>", "print the names of the changed rules").choices(["name"]));
  return addConnectionOptions(command);
}

/** Reads what is needed for targets. @throws {UserError} */
async function prepare({ signal }: KubectlContext, targets: readonly string[], flags: ConnectionFlags) {
  const { request } = open(flags);
  const rules = await readTaintRules(request, signal);
  const { view, state } = await readView({ request }, signal);
  const slices = state.unread.find(({ kind }) => kind === "slices");
  if (slices) throw new UserError(slices.message);
  return { request, rules, view, state, gpus: findTargets(view, targets) };
}

interface ApplyOptions {
  request: KubernetesRequest;
  rules: TaintRules;
  flags: CordonFlags;
  /** What the GPUs are then, such as `cordoned`. */
  done: string;
}

/** Makes the changes one after the other, and prints each. */
async function apply(
  { terminal, signal }: KubectlContext,
  changes: readonly RuleChange[],
  { request, rules: { path }, flags: { dryRun = false, output }, done }: ApplyOptions,
): Promise<void> {
  for (const change of changes) {
    const { gpu, name, action } = change;
    await applyChange(change, { request, path, dryRun, signal });
    if (output === "name") {
      if (action !== "keep") terminal.write(`devicetaintrule.resource.k8s.io/${name}\n`);
      continue;
    }
    const what = action === "keep" ? change.reason : `${done}${dryRun ? " (dry run)" : ""}`;
    terminal.write(`gpu/${gpu.id} on ${gpu.server} ${what}\n`);
  }
}
