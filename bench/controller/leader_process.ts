import { createLeaderWork } from "../../controller/leader_work.ts";
import { createControllerMetrics } from "../../controller/metrics.ts";
import { connectKubernetes } from "../../kubernetes/client.ts";
import { createEventRecorder } from "../../kubernetes/events.ts";
import { createPoolSource } from "../../pool/sources/pool_source.ts";
import { createWatchedServers } from "../../pool/sources/watched_servers.ts";
import { createTokenSource } from "../../pool/token/token_source.ts";
import { silentLog } from "../../program/testing.ts";

/** One line of standard output, written for each line on standard input. Times in ms. */
export interface LeaderReport {
  /** CPU time since the start. */
  readonly cpu: number;
  /** Resident memory, in bytes. */
  readonly memory: number;
  /** The longest time that the event loop was blocked since the last report. */
  readonly stall: number;
  readonly waitingClaims: number;
  /** Units that claims hold. */
  readonly held: number;
}

/** Runs the leader's work in a separate process, with a timer that detects when the event loop is blocked. */
if (import.meta.main) {
  const { POOL_SERVERS = "", POOL_TOKEN: folder } = process.env;
  const { request } = connectKubernetes();
  const token = createTokenSource({ folder, connect: async () => request, log: silentLog });
  const watched = createWatchedServers();
  const work = createLeaderWork({
    request,
    owner: { apiVersion: "v1", kind: "Namespace", name: "bitfusion-system", uid: "bench" },
    preemption: true,
    driverNamespace: "bitfusion-node",
    inventory: createPoolSource(
      POOL_SERVERS.split(",").map((address) => ({ address })),
      { interval: 10_000, token, log: silentLog, watched },
    ),
    clientOf: watched.client,
    record: createEventRecorder({ request, component: "bench" }),
    log: silentLog,
    metrics: createControllerMetrics({ supply: () => undefined, waitingClaims: () => [] }),
  });
  void work.run(new AbortController().signal);

  let stall = 0;
  let last = performance.now();
  const TIMER_INTERVAL = 1;
  setInterval(() => {
    const now = performance.now();
    stall = Math.max(stall, now - last - TIMER_INTERVAL);
    last = now;
  }, TIMER_INTERVAL);

  for await (const _ of Bun.stdin.stream()) {
    const { user, system } = process.cpuUsage();
    const report: LeaderReport = {
      cpu: (user + system) / 1000,
      memory: process.memoryUsage().rss,
      stall,
      waitingClaims: work.waitingClaims().length,
      held: work.supply()?.reduce((sum, { held }) => sum + held, 0) ?? 0,
    };
    console.log(JSON.stringify(report));
    stall = 0;
    last = performance.now(); // excludes the time of the report itself
  }
  process.exit();
}
