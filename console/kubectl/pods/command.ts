import { Command } from "commander";
import type { KubectlContext } from "../context.ts";
import { addConnectionOptions, addShowOptions, open, type ShowFlags } from "../options.ts";
import { showPool } from "../show.ts";
import { podsOf, podsTables } from "./pods_table.ts";

interface PodsFlags extends ShowFlags {
  readonly allNamespaces?: boolean;
}

/** `kubectl bitfusion pods`: who holds GPUs, and who waits. */
export function podsCommand(context: KubectlContext): Command {
  const command = new Command("pods")
    .description(
      "show which pods hold GPUs, since when and on which node, and which pods wait, since when, for what and why",
    )
    .option("-A, --all-namespaces", "pods of all namespaces")
    .addHelpText(
      "after",
      `
STATE of a share: starting (the driver has not taken its lease yet), ready, failing and unknown (what the driver says), ending.
WHY a pod waits depends on who holds GPUs in all namespaces. Without the right to list their claims, it is what events say.`,
    );
  return addShowOptions(addConnectionOptions(command)).action(
    async ({ output, watch, allNamespaces, ...flags }: PodsFlags) => {
      const { request, namespace } = open(flags);
      const shown = allNamespaces ? undefined : namespace;
      await showPool(
        context,
        { read: { request, insteadOfAll: namespace }, output, watch },
        {
          table: (view, _, wide) =>
            podsTables(podsOf(view, shown), {
              terminal: context.terminal,
              now: context.now(),
              wide,
              namespace: shown,
            }),
          document(view) {
            return { kind: "Pods", ...podsOf(view, shown), problems: view.problems };
          },
          names(view) {
            const { holders, queue } = podsOf(view, shown);
            const pods = [...holders, ...queue].filter(({ pod }) => pod !== "");
            return [
              ...new Set(
                pods.map(({ namespace, pod }) => (shown === undefined ? `${namespace}/${pod}` : `pod/${pod}`)),
              ),
            ];
          },
        },
      );
    },
  );
}
