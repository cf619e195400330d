import { Counter, Gauge, Registry } from "prom-client";
import type { WaitingClaim } from "../pool/claims/waiting_claim.ts";
import type { GpuSupply } from "../pool/requests/supply.ts";
import { UNITS_PER_GPU } from "../pool/units.ts";
import { collectProcessMetrics } from "../program/process_metrics.ts";

/** The metrics that the controller sets, and their registry. */
export interface ControllerMetrics {
  readonly registry: Registry;
  readonly writes: Counter<"operation">;
  readonly writeFailures: Counter<"operation">;
  readonly podClaims: Counter<"result">;
  readonly endedLeases: Counter;
  readonly preemptions: Counter<"result">;
  readonly preemptionVictims: Counter;
  readonly leading: Gauge;
  /** When the client certificate of the pool's token expires, in seconds since the epoch. */
  readonly tokenExpiry: Gauge;
}

export interface ControllerMetricsOptions {
  /** The published GPUs. Undefined while this replica does not lead. */
  supply: () => readonly GpuSupply[] | undefined;
  /** The claims that wait for units. */
  waitingClaims: () => readonly Pick<WaitingClaim, "createdAt">[];
}

const PREFIX = "bitfusion_controller";

export function createControllerMetrics({ supply, waitingClaims }: ControllerMetricsOptions): ControllerMetrics {
  const registry = new Registry();
  const registers = [registry];
  collectProcessMetrics(registry);
  new Gauge({
    name: `${PREFIX}_units`,
    help: "Units of the published GPUs by pool server and state: held by claims, free, or tainted (neither).",
    labelNames: ["server", "state"],
    registers,
    collect() {
      this.reset();
      for (const { attributes, held, free } of supply() ?? []) {
        const { server = "" } = attributes;
        this.inc({ server, state: "held" }, held);
        this.inc({ server, state: "free" }, free);
        this.inc({ server, state: "tainted" }, Math.max(0, UNITS_PER_GPU - held - free));
      }
    },
  });
  new Gauge({
    name: `${PREFIX}_waiting_claims`,
    help: "Claims that wait for units of the pool.",
    registers,
    collect() {
      this.set(waitingClaims().length);
    },
  });
  new Gauge({
    name: `${PREFIX}_longest_wait_seconds`,
    help: "How long the oldest claim that waits for units of the pool has existed. 0 if none waits.",
    registers,
    collect() {
      const now = Date.now();
      const waits = waitingClaims().map(({ createdAt }) => (now - createdAt) / 1000);
      this.set(waits.reduce((longest, wait) => Math.max(longest, wait), 0));
    },
  });
  return {
    registry,
    writes: new Counter({
      name: `${PREFIX}_slice_writes_total`,
      help: "Writes of ResourceSlices by operation.",
      labelNames: ["operation"],
      registers,
    }),
    writeFailures: new Counter({
      name: `${PREFIX}_slice_write_failures_total`,
      help: "Failed writes of ResourceSlices by operation. Each is retried with backoff.",
      labelNames: ["operation"],
      registers,
    }),
    podClaims: new Counter({
      name: `${PREFIX}_pod_claims_total`,
      help: "Claims for pods by result: created, refused (the pod's units do not cover them) or failed (each is retried with backoff).",
      labelNames: ["result"],
      registers,
    }),
    endedLeases: new Counter({
      name: `${PREFIX}_ended_leases_total`,
      help: "Leases on pool servers that were ended because their claim was gone or allocated again.",
      registers,
    }),
    preemptions: new Counter({
      name: `${PREFIX}_preemption_attempts_total`,
      help: "Attempts to make room for a pod of higher priority by result: evicted, or blocked (a disruption budget or a policy protects one of the victims).",
      labelNames: ["result"],
      registers,
    }),
    preemptionVictims: new Counter({
      name: `${PREFIX}_preemption_victims_total`,
      help: "Pods that were evicted for pods of higher priority.",
      registers,
    }),
    leading: new Gauge({
      name: `${PREFIX}_leading`,
      help: "1 while this replica holds the Lease.",
      registers,
    }),
    tokenExpiry: new Gauge({
      name: `${PREFIX}_token_expiry_timestamp_seconds`,
      help: "When the client certificate in the pool's token expires, in seconds since the epoch. 0 while none was read: only the replica that leads reads it.",
      registers,
    }),
  };
}
