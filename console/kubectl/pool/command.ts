import { Command } from "commander";
import type { KubectlContext } from "../context.ts";
import { addConnectionOptions, addShowOptions, open, type ShowFlags } from "../options.ts";
import { showPool } from "../show.ts";
import { knowledgeOfClaims, poolTable } from "./pool_table.ts";

/** `kubectl bitfusion pool`: the servers and their GPUs. */
export function poolCommand(context: KubectlContext): Command {
  const command = new Command("pool")
    .description("show the servers and GPUs of the pool: how much is held and free, health, and who keeps pods away")
    .addHelpText(
      "after",
      `
A unit is one percent of one GPU. Free units are those that new pods can get now: a GPU that is tainted has none.
-o wide adds who holds each GPU. -o name lists the ids of the GPUs, as cordon and drain take them.`,
    );
  return addShowOptions(addConnectionOptions(command)).action(async ({ output, watch, ...flags }: ShowFlags) => {
    const { request, namespace } = open(flags);
    await showPool(
      context,
      { read: { request, insteadOfAll: namespace }, output, watch },
      {
        table: (view, state, wide) =>
          poolTable(view, {
            terminal: context.terminal,
            now: context.now(),
            wide,
            claims: knowledgeOfClaims(state),
            hasSlices: state.objects.slices !== undefined,
          }),
        document: ({ servers, totals, problems }) => ({ kind: "Pool", totals, servers, problems }),
        names: ({ servers }) => servers.flatMap(({ gpus }) => gpus.map(({ id }) => `gpu/${id}`)),
      },
    );
  });
}
