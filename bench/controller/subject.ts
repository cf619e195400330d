import { createLeaderWork } from "../../controller/leader_work.ts";
import { createControllerMetrics } from "../../controller/metrics.ts";
import { connectKubernetes } from "../../kubernetes/client.ts";
import { createEventRecorder } from "../../kubernetes/events.ts";
import { createPoolSource } from "../../pool/sources/pool_source.ts";
import { silentLog } from "../../program/testing.ts";

/** What the subject reports for each line on standard input. Times in ms. */
export interface SubjectReport {
  /** Processor time since the start. */
  readonly cpu: number;
  /** Resident memory in bytes. */
  readonly memory: number;
  /** The longest time that the event loop stood still since the last report. */
  readonly stall: number;
  readonly waitingClaims: number;
  /** Units that claims hold. */
  readonly held: number;
}

/** The leader's work as a process of its own, with a clock that notices when the event loop stands still. */
if (import.meta.main) {
  const { POOL_SERVERS = "" } = process.env;
  const { request } = connectKubernetes();
  const work = createLeaderWork({
    request,
    inventory: createPoolSource(POOL_SERVERS.split(","), { interval: 10_000, log: silentLog }),
    record: createEventRecorder({ request, component: "bench" }),
    log: silentLog,
    metrics: createControllerMetrics({ supply: () => undefined, waitingClaims: () => 0 }),
  });
  void work.run(new AbortController().signal);

  let stall = 0;
  let last = performance.now();
  const TICK = 1;
  setInterval(() => {
    const now = performance.now();
    stall = Math.max(stall, now - last - TICK);
    last = now;
  }, TICK);

  for await (const _ of Bun.stdin.stream()) {
    const { user, system } = process.cpuUsage();
    const report: SubjectReport = {
      cpu: (user + system) / 1000,
      memory: process.memoryUsage().rss,
      stall,
      waitingClaims: work.waitingClaims(),
      held: work.supply()?.reduce((sum, { held }) => sum + held, 0) ?? 0,
    };
    console.log(JSON.stringify(report));
    stall = 0;
    last = performance.now(); // the report itself does not count
  }
  process.exit();
}
