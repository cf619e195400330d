import { Command, CommanderError } from "commander";
import { connectKubernetes } from "../kubernetes/client.ts";
import { messageOf } from "../program/log/log.ts";
import { runProgram } from "../program/run.ts";
import { control } from "./control.ts";
import { undoCommand } from "./lease.ts";
import { readSettings } from "./settings.ts";
import { uninstall } from "./uninstall/uninstall.ts";

await runProgram("controller", async (context) => {
  const program = new Command("controller")
    .description("Publishes the GPUs of the pool to the cluster. Settings are environment variables.")
    .exitOverride()
    .action(() => control(context));
  program
    .command("uninstall")
    .description("withdraw the pool from the cluster, unless pods use it; then the manifests can be deleted")
    .action(async () => {
      const { namespace } = readSettings(context.environment);
      const { request } = connectKubernetes();
      const print = (line: string) => context.writeLine(`${line}\n`);
      try {
        await uninstall({ request, namespace, print }, context.signal);
      } catch (error) {
        process.stderr.write(`controller: ${messageOf(error)}\n`);
        process.exit(1);
      }
      print("The pool is withdrawn. To uninstall, run now: kubectl delete -k .");
      print(`To undo it instead: ${undoCommand(namespace)}`);
    });
  await program.parseAsync().catch((error) => {
    if (!(error instanceof CommanderError)) throw error;
    process.exit(error.exitCode === 0 ? 0 : 2); // Commander has printed the reason
  });
});
