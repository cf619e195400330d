import { Command, CommanderError } from "commander";
import packageFile from "../../package.json";
import { messageOf } from "../../program/log/log.ts";
import { escapeControls } from "../../program/text/quote.ts";
import { completionCommands } from "./completion/command.ts";
import type { KubectlContext } from "./context.ts";
import { cordonCommands } from "./cordon/command.ts";
import { explainCommand } from "./explain/command.ts";
import { fitsCommand } from "./fits/command.ts";
import { podsCommand } from "./pods/command.ts";
import { poolCommand } from "./pool/command.ts";
import { SilentExit, UserError } from "./user_error.ts";

/**
 * Runs `kubectl bitfusion` with these arguments.
 *
 * @returns the status with which the process should end: 0, 1 for an error, 130 after an interrupt, or that of the command
 */
export async function runKubectl(args: readonly string[], context: KubectlContext): Promise<number> {
  const { terminal, signal } = context;
  try {
    await createProgram(context).parseAsync(args, { from: "user" });
    return signal.aborted ? INTERRUPTED : 0;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode; // Commander has printed the reason
    if (error instanceof SilentExit) return error.status;
    if (signal.aborted) return INTERRUPTED;
    terminal.warn(`error: ${escapeControls(messageOf(error))}`);
    return error instanceof UserError ? error.status : 1;
  }
}

/** 128 + SIGINT, as of a shell's command. */
const INTERRUPTED = 130;

function createProgram(context: KubectlContext): Command {
  const { terminal } = context;
  const program = new Command("kubectl bitfusion")
    .description("Shows who has which GPU of the Bitfusion pool, who waits, and why.")
    .addHelpText(
      "after",
      `
It uses your kubeconfig and your rights, and says which right is missing. Colors are for terminals only; NO_COLOR turns them off.
Exits with 0, with 1 after an error, and with 130 after an interrupt. The help of a command names others.`,
    );
  program
    .addCommand(poolCommand(context))
    .addCommand(podsCommand(context))
    .addCommand(explainCommand(context))
    .addCommand(fitsCommand(context));
  for (const command of cordonCommands(context)) program.addCommand(command);
  program.addCommand(
    new Command("version")
      .description("print the version of this program")
      .action(() => terminal.write(`${packageFile.version}\n`)),
  );
  for (const command of completionCommands(program, context)) {
    program.addCommand(command, { hidden: command.name().startsWith("_") });
  }
  for (const command of [program, ...program.commands]) {
    command.exitOverride().configureOutput({
      writeOut: terminal.write,
      writeErr: (text) => terminal.warn(text.trimEnd()),
    });
  }
  return program;
}
