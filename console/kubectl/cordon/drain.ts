import type { Pod } from "../../../kubernetes/objects/pod.ts";
import type { KubernetesRequest } from "../../../kubernetes/request.ts";
import { clampTimeout } from "../../../program/timers.ts";
import { followPool } from "../../source/follow.ts";
import type { GpuView, HeldShare, PoolView } from "../../view/types.ts";
import { viewPool } from "../../view/view.ts";
import type { KubectlContext } from "../context.ts";
import { commandLog } from "../log.ts";
import { formatDuration } from "../output/age.ts";
import { formatTable } from "../output/table.ts";
import { UserError } from "../user_error.ts";
import { holderOf, holdersWithoutController, sharesOn } from "./affected.ts";

export interface DrainOptions {
  gpus: readonly GpuView[];
  /** The pool before the drain, and its pods. */
  view: PoolView;
  pods: Iterable<Pod>;
  request: KubernetesRequest;
  /** Whether pods without a controller are evicted, too. */
  force: boolean;
  dryRun: boolean;
  /** How long to wait, in ms. 0: not at all. */
  timeout: number;
  /** Gives the GPUs the taint that evicts. */
  taint: () => Promise<void>;
}

/**
 * Shows who holds the GPUs, taints them, and waits until nobody holds them.
 *
 * @throws {UserError} if pods would not come back, or still hold GPUs after the timeout.
 */
export async function drain(context: KubectlContext, options: DrainOptions): Promise<void> {
  const { terminal } = context;
  const { gpus, view, pods, force, dryRun, timeout, taint } = options;
  const affected = sharesOn(view, gpus);
  if (affected.length > 0) terminal.write(`${affectedTable(affected)}\n`);
  const lost = force ? [] : holdersWithoutController(affected, pods);
  if (lost.length > 0) {
    throw new UserError(
      `Nothing creates these again when they are evicted: ${lost.join(", ")}. Evict them with --force`,
    );
  }
  await taint();
  if (dryRun || timeout === 0 || affected.length === 0) return;
  await waitUntilFree(context, affected, options);
}

function affectedTable(shares: readonly HeldShare[]): string {
  return formatTable(
    ["NAMESPACE", "POD", "UNITS", "GPU", "SERVER", "NODE"],
    shares.map(({ namespace, pod, claim, units, gpu, server, node }) => [
      namespace,
      pod || `(claim ${claim})`,
      String(units),
      gpu,
      server,
      node,
    ]),
  );
}

/** Prints each holder that has released the GPUs. Others may come until the scheduler has seen the taint: they are evicted, too. */
async function waitUntilFree(
  { terminal, signal }: KubectlContext,
  affected: readonly HeldShare[],
  { gpus, request, timeout }: DrainOptions,
): Promise<void> {
  const limit = AbortSignal.timeout(clampTimeout(timeout));
  let holders = new Set(affected.map(holderOf));
  for await (const { objects, unread } of followPool({ request, log: commandLog }, AbortSignal.any([signal, limit]))) {
    if (unread.some(({ kind }) => kind === "claims")) continue; // tried again until the timeout
    const current = new Set(sharesOn(viewPool(objects), gpus).map(holderOf));
    for (const holder of holders) if (!current.has(holder)) terminal.write(`${holder} has released its GPUs\n`);
    holders = current;
    if (holders.size === 0) return;
  }
  signal.throwIfAborted();
  throw new UserError(
    `Still held after ${formatDuration(timeout)}, by ${[...holders].join(", ")}. The GPUs stay drained: kubectl bitfusion uncordon lets pods get them again`,
  );
}
