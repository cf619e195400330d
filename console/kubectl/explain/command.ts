import { Command, Option } from "commander";
import { escapeControls } from "../../../program/text/quote.ts";
import { followPool } from "../../source/follow.ts";
import type { PoolState } from "../../source/pool_objects.ts";
import { readPool } from "../../source/read.ts";
import { viewPool } from "../../view/view.ts";
import type { KubectlContext } from "../context.ts";
import { commandLog } from "../log.ts";
import { addConnectionOptions, type ConnectionFlags, open } from "../options.ts";
import { symbolOf } from "../output/symbol.ts";
import type { Terminal } from "../output/terminal.ts";
import { clearScreen, formatDocument } from "../show.ts";
import { UserError } from "../user_error.ts";
import { explainPod, explainRefusal } from "./explain.ts";
import { type ReadFactsOptions, readFacts, readPods } from "./read_facts.ts";
import type { Step } from "./steps.ts";
import { choosePod, parseTarget, refusalsOfTarget, type Target } from "./target.ts";

interface ExplainFlags extends ConnectionFlags {
  readonly output?: "json" | "yaml";
  readonly watch?: boolean;
}

/** The way of one pod, or of the pods that an owner cannot create. */
interface Explanation {
  readonly kind: "Explanation";
  readonly namespace: string;
  /** Such as pod/train. */
  readonly about: string;
  /** About other pods of the same owner. */
  readonly note?: string;
  readonly steps: readonly Step[];
}

/** `kubectl bitfusion explain`: the way of one pod to its GPUs. */
export function explainCommand(context: KubectlContext): Command {
  const command = new Command("explain")
    .description("show the way of a pod to its GPUs, step by step, with what is missing and what to do")
    .argument("<pod>", "a pod, or TYPE/NAME of an owner: job/train, deployment/llm. Of several pods, one that waits")
    .addOption(new Option("-o, --output <format>", "format of the output").choices(["json", "yaml"]))
    .option("-w, --watch", "go on and show each change, until interrupted")
    .addHelpText(
      "after",
      `
Steps: admission, quota, claims, allocation, node, lease, gate, containers. The gate is the way from the pod to its pool servers, which a
NetworkPolicy may close; policies of other kinds are not looked at.`,
    );
  return addConnectionOptions(command).action(async (text: string, { output, watch, ...flags }: ExplainFlags) => {
    const { terminal, signal } = context;
    const target = parseTarget(text);
    const { request, namespace } = open(flags);
    const read = { request, insteadOfAll: namespace };
    const format = (explanation: Explanation) =>
      output ? formatDocument(explanation, output, watch) : formatExplanation(explanation, terminal);
    if (!watch) {
      const explanation = await explainState(await readPool(read, signal), target, { request, namespace, signal });
      return terminal.write(format(explanation));
    }
    let shown = "";
    for await (const state of followPool({ ...read, log: commandLog }, signal)) {
      const next = format(await explainState(state, target, { request, namespace, signal }));
      if (next === shown) continue;
      shown = next;
      terminal.write(output ? next : `${clearScreen(terminal)}${next}`);
    }
  });
}

async function explainState(state: PoolState, target: Target, options: ReadFactsOptions): Promise<Explanation> {
  const { namespace } = options;
  const view = viewPool(state.objects);
  const pods = await readPods(target, options);
  const pod = choosePod(pods, view);
  const kind = "Explanation";
  if (pod) {
    const steps = explainPod(await readFacts(pod, { view, state }, options));
    const note =
      pods.length > 1
        ? { note: `One of ${pods.length} pods: ${pods.map(({ metadata }) => metadata.name).join(", ")}` }
        : {};
    return { kind, namespace, about: `pod/${pod.metadata.name}`, ...note, steps };
  }
  const [refusal] = refusalsOfTarget(target, namespace, view.refusals);
  if (refusal)
    return { kind, namespace, about: `${refusal.kind.toLowerCase()}/${refusal.name}`, steps: explainRefusal(refusal) };
  const what =
    target.kind === undefined ? "pod, or owner of pods," : target.kind === "Pod" ? "pod" : `pod of a ${target.kind}`;
  throw new UserError(
    `Cannot find a ${what} with the name ${target.name} in the namespace ${namespace}, nor an event that says why there is none. Events are kept for an hour`,
  );
}

/** One line for each step, and one with what to do. */
function formatExplanation({ about, namespace, note, steps }: Explanation, terminal: Terminal): string {
  const { colors } = terminal;
  const lines = [colors.bold(`${about} in the namespace ${namespace}`), ...(note ? [note] : []), ""];
  for (const { name, state, text, advice } of steps) {
    lines.push(`${symbolOf(state, terminal)} ${name.padEnd(10)}  ${escapeControls(text)}`.trimEnd());
    if (advice) lines.push(`${" ".repeat(WIDTH)}${terminal.unicode ? "→" : "->"} ${escapeControls(advice)}`);
  }
  return `${lines.join("\n")}\n`;
}

/** Columns in front of the texts. */
const WIDTH = 14;
