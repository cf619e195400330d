import { Argument, Command } from "commander";
import type { KubectlContext } from "../context.ts";
import { complete, type Flags, type Lister, type Listers } from "./complete.ts";
import { listContexts, listNamespaces, listPods, listTargets } from "./listers.ts";
import { COMPLETE, DIRECTIVES, SCRIPTS, SHELLS, type Shell } from "./scripts.ts";

/** `kubectl bitfusion completion`, and the hidden command that the shells call. */
export function completionCommands(program: Command, { terminal, signal }: KubectlContext): Command[] {
  const completion = new Command("completion")
    .description("print the script that completes kubectl-bitfusion in a shell")
    .addArgument(new Argument("<shell>").choices(SHELLS))
    .addHelpText(
      "after",
      `
  source <(kubectl-bitfusion completion bash)

For "kubectl bitfusion", kubectl asks the executable kubectl_complete-bitfusion, which is installed with this one.`,
    )
    .action((shell: Shell) => terminal.write(SCRIPTS[shell]));

  const quietly = (list: (flags: Flags, signal: AbortSignal) => Promise<readonly string[]>): Lister => {
    // A shell has no place for an error.
    return (flags) => list(flags, AbortSignal.any([signal, AbortSignal.timeout(TIME_LIMIT)])).catch(() => []);
  };
  const targets = quietly(listTargets);
  const listers: Listers = {
    commands: { cordon: targets, uncordon: targets, drain: targets, explain: quietly(listPods) },
    options: { "--namespace": quietly(listNamespaces), "--context": quietly(listContexts) },
  };
  const hidden = new Command(COMPLETE)
    .argument("[words...]")
    .allowUnknownOption()
    .helpOption(false)
    .action(async (words: string[]) => {
      const candidates = await complete(program, words, listers);
      const lines = [...(candidates ?? []), candidates ? DIRECTIVES.noFiles : DIRECTIVES.files];
      terminal.write(lines.map((line) => `${line}\n`).join(""));
    });
  return [completion, hidden];
}

/** Time that a shell may wait, in ms. */
const TIME_LIMIT = 3000;
