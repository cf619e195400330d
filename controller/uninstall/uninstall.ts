import { setTimeout as sleep } from "node:timers/promises";
import { createElection } from "../../kubernetes/election.ts";
import type { KubernetesRequest } from "../../kubernetes/request.ts";
import { messageOf } from "../../program/log/log.ts";
import { removeTemplates } from "../claims/old_templates.ts";
import { LEASE, uninstallerIdentity } from "../lease.ts";
import { clearNodes } from "../nodes/clear_nodes.ts";
import { removeSlices } from "../slices/remove_slices.ts";
import { listPoolUsers } from "./pool_users.ts";

export interface UninstallOptions {
  request: KubernetesRequest;
  /** Namespace of the Lease. */
  namespace: string;
  /** Writes a line about what was done. */
  print: (line: string) => void;
  /** How long the leader may take to notice that it lost the Lease, and to stop, in ms. Default: as long as other candidates wait. */
  handover?: number;
}

/** How long the Lease is held for the work, in ms. If the program is killed, a replica of the controller leads again after this time. */
const TIME_LIMIT = 120_000;

/** How long the Lease is held when all is removed, in ms: the largest value of leaseDurationSeconds, 68 years. */
const FOR_GOOD = (2 ** 31 - 1) * 1000;

/** The most users that a refusal names. */
const MAX_NAMED = 20;

/**
 * Removes what the controller keeps outside its namespace: slices, the label and the capacity of nodes, and claim templates of earlier
 * versions. It holds the Lease from then on, so that no replica of the controller writes them again. If it fails, it releases the Lease, and a
 * replica restores them.
 *
 * @throws {Error} names the pods that use the pool: their claims could not be unprepared without the driver.
 */
export async function uninstall(options: UninstallOptions, signal: AbortSignal): Promise<void> {
  const { request, namespace, print, handover = 15_000 } = options;
  await assertUnused(request, signal);
  const untilLate = AbortSignal.any([signal, AbortSignal.timeout(TIME_LIMIT)]);
  const candidate = { request, namespace, name: LEASE, identity: uninstallerIdentity() };
  const election = createElection({ ...candidate, duration: TIME_LIMIT });
  await election.takeOver(untilLate);
  try {
    print("Waiting until the controller has stopped");
    await sleep(handover, undefined, { signal: untilLate });
    for await (const slice of removeSlices(request, untilLate)) print(`ResourceSlice ${slice} removed`);
    for await (const template of removeTemplates(request, { unusedSince: Date.now() }, untilLate)) {
      print(`ResourceClaimTemplate ${template} removed`);
    }
    for (const node of await clearNodes(request, untilLate)) print(`Label and capacity of node ${node} removed`);
    await assertUnused(request, untilLate); // the scheduler may have allocated a claim before it saw that the slices are gone
    const isHeld = await createElection({ ...candidate, duration: FOR_GOOD }).tryAcquire(untilLate);
    if (!isHeld) throw new Error(`Another program has taken the Lease ${LEASE}`);
  } catch (error) {
    await election.release().catch((failure) => print(`Cannot release the Lease ${LEASE}: ${messageOf(failure)}`));
    print("Nothing is uninstalled: the controller publishes the pool again");
    throw error;
  }
}

/** @throws {Error} names who uses the pool. */
async function assertUnused(request: KubernetesRequest, signal: AbortSignal): Promise<void> {
  const users = await listPoolUsers(request, signal);
  if (users.length === 0) return;
  const rest = users.length > MAX_NAMED ? [`and ${users.length - MAX_NAMED} more`] : [];
  const lines = [...users.slice(0, MAX_NAMED), ...rest].map((line) => `\n  ${line}`);
  throw new Error(`Cannot uninstall while these use GPUs of the pool, or wait for some:${lines.join("")}`);
}
