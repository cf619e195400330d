import { connectKubernetes } from "../kubernetes/client.ts";
import { createEventRecorder } from "../kubernetes/events.ts";
import { runAsLeader } from "../kubernetes/leader.ts";
import { createPoolSource } from "../pool/sources/pool_source.ts";
import { createLatest } from "../program/latest.ts";
import { serveProbes } from "../program/probes.ts";
import { runProgram } from "../program/run.ts";
import { lead } from "./lead.ts";
import { createControllerMetrics } from "./metrics.ts";
import { untilOffered } from "./offer.ts";
import { readSettings } from "./settings.ts";
import { keepWithdrawn } from "./slices/withdraw.ts";
import type { State } from "./state.ts";

const NAME = "bitfusion-controller";

/** Tells the scheduler of the pool's GPUs, so that it shares them among all nodes by itself (Dynamic Resource Allocation). */
await runProgram("controller", async ({ environment, log, signal }) => {
  const { servers, allocation, interval, evictAfter, namespace, identity, metricsPort } = readSettings(environment);
  const { request, core } = connectKubernetes();
  const state = createLatest<State>({});
  const metrics = createControllerMetrics(() => state.current ?? {});
  let standing = "starting";
  await using probes = serveProbes({
    port: metricsPort,
    notReady: () => undefined, // one that waits for its turn is as it should be
    detail: () => `ok: ${standing}`,
    metrics: metrics.registry,
  });
  log.info("Started", { servers, metricsPort: probes.port });

  const whileLeading = (work: (untilLost: AbortSignal) => Promise<void>) =>
    runAsLeader({ request, namespace, name: NAME, identity, log }, work, signal);

  if (!servers || allocation === "units") {
    standing = `nothing is published: ${servers ? "ALLOCATION=units" : "no pool server is named"}`;
    log.info("Idle", { standing, metricsPort: probes.port });
    await whileLeading((untilLost) => keepWithdrawn({ request, log, metrics }, untilLost));
    return;
  }
  await untilOffered({
    request,
    log,
    onMissing: (what) => {
      standing = `nothing is published: the API server does not offer ${what}`;
    },
    signal,
  });

  const record = createEventRecorder({ core, namespace, component: NAME });
  const inventory = createPoolSource(servers, { interval, log });
  standing = "another one leads";
  await whileLeading(async (untilLost) => {
    standing = "leading";
    metrics.leading.set(1);
    try {
      await lead({ request, inventory, state, evictAfter, record, log, metrics }, untilLost);
    } finally {
      metrics.leading.set(0);
      standing = "another one leads";
    }
  });
});
