import { Counter, Gauge, Registry } from "prom-client";
import { memoryOfUnits, UNITS_PER_GPU } from "../../pool/units.ts";
import { expiryOf } from "../../tls/key_pair.ts";
import type { Lease } from "../leases/ledger.ts";
import type { GpuUse } from "../use/lease_use.ts";

/** The metrics of a pool server, and their registry. */
export interface ServerMetrics {
  readonly registry: Registry;
  /** Adds the time of a lease that has ended. */
  countHeld(lease: Lease): void;
  /** Adds the time that a lease has used GPUs, in GPU seconds. */
  countUse(lease: Lease, gpuSeconds: number): void;
  /** Counts a data-plane process that was ended because it kept more memory than the share of its lease. */
  countEnded(lease: Lease): void;
}

export interface ServerMetricsOptions {
  /** The server's certificate now, in PEM. */
  cert: () => string;
  leases: () => readonly Lease[];
  /** The current time in ms, of the clock of the leases. */
  now: () => number;
  /** What a lease uses of its GPUs. */
  usesOf: (leaseId: string) => readonly GpuUse[];
  /** The memory of a GPU, in MB. */
  memoryOf: (gpuId: string) => number;
}

const PREFIX = "bitfusion_server";
const BYTES_PER_MB = 1_000_000;

type ClientLabels = Record<"client" | "namespace", string>;
type LeaseLabels = Record<"client" | "namespace" | "pod" | "container", string>;

export function createServerMetrics({ cert, leases, now, usesOf, memoryOf }: ServerMetricsOptions): ServerMetrics {
  const registry = new Registry();
  const registers = [registry];
  const labelNames = ["client", "namespace", "pod", "container", "gpu"] as const;

  /** A value of each lease and GPU. A container may have several leases: their values are added. */
  function gauge(
    name: string,
    help: string,
    valuesOf: (lease: Lease) => { gpuId: string; value: number | undefined }[],
  ) {
    new Gauge({
      name: `${PREFIX}_lease_${name}`,
      help,
      labelNames,
      registers,
      collect() {
        this.reset();
        for (const lease of leases()) {
          for (const { gpuId, value } of valuesOf(lease)) {
            if (value !== undefined) this.inc({ ...labelsOf(lease), gpu: gpuId }, value);
          }
        }
      },
    });
  }
  gauge("memory_share_bytes", "The share of a GPU's memory that a lease has, by client and container.", ({ gpus }) =>
    gpus.map(({ gpuId, units }) => ({ gpuId, value: memoryOfUnits(units, memoryOf(gpuId)) * BYTES_PER_MB })),
  );
  gauge(
    "memory_used_bytes",
    "The memory of a GPU that the process of a lease uses, by client and container.",
    ({ id }) => usesOf(id).map(({ gpuId, memoryMb }) => ({ gpuId, value: memoryMb * BYTES_PER_MB })),
  );
  gauge(
    "utilization_ratio",
    "Part of the time in which the process of a lease has used a GPU, 0 to 1, by client and container. Absent for MIG devices.",
    ({ id }) => usesOf(id).map(({ gpuId, utilization }) => ({ gpuId, value: utilization && utilization / 100 })),
  );
  new Gauge({
    name: `${PREFIX}_certificate_expiry_timestamp_seconds`,
    help: "When the server's certificate expires, in seconds since the epoch.",
    registers,
    collect() {
      this.set(expiryOf(cert()));
    },
  });
  const startedAt = now();
  const timeOfEnded = new Map<string, { labels: ClientLabels; gpuSeconds: number }>();

  /** The time that a lease has held GPUs, in GPU seconds. As for each counter, time before this run does not count. */
  function heldBy({ gpus, grantedAt }: Lease): number {
    const units = gpus.reduce((sum, { units }) => sum + units, 0);
    return ((now() - Math.max(grantedAt, startedAt)) / 1000) * (units / UNITS_PER_GPU);
  }
  new Counter({
    name: `${PREFIX}_held_gpu_seconds_total`,
    help: "Time for which leases have held GPUs, times their share of them, by client and namespace. One GPU hour is 3600.",
    labelNames: ["client", "namespace"],
    registers,
    collect() {
      this.reset();
      for (const { labels, gpuSeconds } of timeOfEnded.values()) this.inc(labels, gpuSeconds);
      for (const lease of leases()) this.inc(clientLabelsOf(lease), heldBy(lease));
    },
  });
  const used = new Counter({
    name: `${PREFIX}_used_gpu_seconds_total`,
    help: "Time for which the processes of leases have used GPUs, times the utilization, by client and namespace. MIG devices do not tell it.",
    labelNames: ["client", "namespace"],
    registers,
  });
  const ended = new Counter({
    name: `${PREFIX}_ended_processes_total`,
    help: "Data-plane processes that were ended because they kept more of a GPU's memory than the share of their lease.",
    labelNames: ["client", "namespace"],
    registers,
  });
  return {
    registry,
    countHeld(lease) {
      const labels = clientLabelsOf(lease);
      const key = JSON.stringify(labels);
      const gpuSeconds = (timeOfEnded.get(key)?.gpuSeconds ?? 0) + heldBy(lease);
      timeOfEnded.set(key, { labels, gpuSeconds });
    },
    countUse: (lease, gpuSeconds) => used.inc(clientLabelsOf(lease), gpuSeconds),
    countEnded: (lease) => ended.inc(clientLabelsOf(lease)),
  };
}

function clientLabelsOf({ holder: { client }, owner: { namespace } }: Lease): ClientLabels {
  return { client, namespace };
}

function labelsOf(lease: Lease): LeaseLabels {
  const { pod, container } = lease.owner;
  return { ...clientLabelsOf(lease), pod, container };
}
