import { connectKubernetes } from "../kubernetes/client.ts";
import { createEventRecorder } from "../kubernetes/events.ts";
import { runAsLeader } from "../kubernetes/leader.ts";
import { readNamespaceOwner } from "../kubernetes/namespace_owner.ts";
import { waitForApiServer } from "../kubernetes/wait_for_api_server.ts";
import { waitForClaimSupport } from "../pool/allocation/claim_support.ts";
import { createPoolSource } from "../pool/sources/pool_source.ts";
import { createWatchedServers } from "../pool/sources/watched_servers.ts";
import { createTokenSource, type TokenSource } from "../pool/token/token_source.ts";
import { serveProbes } from "../program/http/probes.ts";
import type { ProgramContext } from "../program/run.ts";
import { expiryOf } from "../tls/key_pair.ts";
import { findMissing } from "./api_support.ts";
import { createLeaderWork, type LeaderWork } from "./leader_work.ts";
import { isUninstaller, LEASE, undoCommand } from "./lease.ts";
import { createControllerMetrics } from "./metrics.ts";
import { readSettings } from "./settings.ts";
import { withdraw } from "./withdraw.ts";

/** Name of the program in events. */
const NAME = "bitfusion-controller";

/**
 * Publishes the pool's GPUs as ResourceSlices, so that the scheduler shares them among all nodes (Dynamic Resource Allocation). Returns when the
 * signal is aborted.
 */
export async function control({ environment, log, signal }: ProgramContext): Promise<void> {
  const settings = readSettings(environment);
  const { servers, tokenFolder, allocation, interval, namespace, identity, metricsPort } = settings;
  const { request } = connectKubernetes();
  let work: LeaderWork | undefined;
  const metrics = createControllerMetrics({
    supply: () => work?.supply(),
    waitingClaims: () => work?.waitingClaims() ?? [],
  });
  let status = "starting";
  let isWithdrawn = false;
  let waitingFor: string | undefined = "No answer from the API server yet";
  await using probes = await serveProbes({
    port: metricsPort,
    // A replica that waits for the Lease is ready.
    notReady: () => waitingFor ?? work?.problem() ?? (servers ? undefined : describeAbandoned(work?.supply()?.length)),
    detail: () => `ok: ${isWithdrawn ? describeWithdrawn(namespace) : status}`,
    metrics: metrics.registry,
  });
  log.info("Started", { servers, metricsPort: probes.port });
  await waitForApiServer({ request, log, signal });
  const owner = await readNamespaceOwner({ request, namespace, log, signal });
  if (!owner) return; // the program ended before the API server answered
  waitingFor = allocation === "claims" ? "Not known yet whether the API server supports claims by capacity" : undefined;

  const onFollow = (holder: string) => {
    if (isUninstaller(holder) && !isWithdrawn) log.warn("Idle", { status: describeWithdrawn(namespace) });
    isWithdrawn = isUninstaller(holder);
  };
  const lead = (run: (untilLost: AbortSignal) => Promise<void>) =>
    runAsLeader(
      { request, namespace, name: LEASE, identity, log, onFollow },
      (untilLost) => {
        isWithdrawn = false;
        return run(untilLost);
      },
      signal,
    );

  if (allocation === "units") {
    status = "nothing is published: ALLOCATION=units";
    log.info("Idle", { status, metricsPort: probes.port });
    await lead((untilLost) => withdraw({ request, log, metrics }, untilLost));
    return;
  }
  await waitForClaimSupport({
    findMissing: (signal) => findMissing(request, signal),
    log,
    onMissing: (reason) => {
      waitingFor = reason;
    },
    signal,
  });
  waitingFor = undefined;

  const record = createEventRecorder({ request, component: NAME });
  const tokens = createTokenSource({ folder: tokenFolder, connect: async () => request, log });
  const token: TokenSource = async function* (signal) {
    for await (const next of tokens(signal)) {
      if (next.tls) metrics.tokenExpiry.set(expiryOf(next.tls.cert));
      yield next;
    }
  };
  const watched = createWatchedServers();
  const inventory = createPoolSource(servers ?? [], { interval, token, log, watched });
  status = "another replica leads";
  await lead(async (untilLost) => {
    status = servers ? "leading" : "nothing is published: no pool server is configured";
    metrics.leading.set(1);
    if (!servers) log.warn("No pool server is configured: GPUs that are published get no new pods");
    const { driverNamespace, evictAfter, preemption } = settings;
    const pool = { inventory, clientOf: watched.client };
    const policy = { evictAfter, preemption };
    work = createLeaderWork({ request, owner, driverNamespace, ...pool, ...policy, record, log, metrics });
    try {
      await work.run(untilLost);
    } finally {
      work = undefined;
      metrics.leading.set(0);
      status = "another replica leads";
    }
  });
}

/** Why no replica leads after the command `uninstall`, and how to undo that. */
function describeWithdrawn(namespace: string): string {
  return `nothing is published: the pool was withdrawn to uninstall it; to undo that, run ${undoCommand(namespace)}`;
}

/** Why a controller without pool servers is not ready: GPUs that it published earlier are still there. */
function describeAbandoned(published = 0): string | undefined {
  if (published === 0) return undefined;
  const remedy = "set POOL_SERVERS, or ALLOCATION=units to withdraw them";
  return `No pool server is configured: the published GPUs (${published}) get no new pods; ${remedy}`;
}
