import { Counter, Gauge, Registry } from "prom-client";
import { memoryOfUnits } from "../../pool/units.ts";
import type { Lease } from "../leases/ledger.ts";
import type { GpuUse } from "../use/lease_use.ts";

/** The metrics of a pool server, and their registry. */
export interface ServerMetrics {
  readonly registry: Registry;
  /** Counts a data-plane process that was ended because it kept more memory than the share of its lease. */
  countEnded(lease: Lease): void;
}

export interface ServerMetricsOptions {
  leases: () => readonly Lease[];
  /** What a lease uses of its GPUs. */
  usesOf: (leaseId: string) => readonly GpuUse[];
  /** The memory of a GPU, in MB. */
  memoryOf: (gpuId: string) => number;
}

const PREFIX = "bitfusion_server";
const BYTES_PER_MB = 1_000_000;

type LeaseLabels = Record<"client" | "namespace" | "pod" | "container", string>;

export function createServerMetrics({ leases, usesOf, memoryOf }: ServerMetricsOptions): ServerMetrics {
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
  const ended = new Counter({
    name: `${PREFIX}_ended_processes_total`,
    help: "Data-plane processes that were ended because they kept more of a GPU's memory than the share of their lease.",
    labelNames: ["client", "namespace"],
    registers,
  });
  return {
    registry,
    countEnded: ({ holder: { client }, owner: { namespace } }) => ended.inc({ client, namespace }),
  };
}

function labelsOf({ holder: { client }, owner: { namespace, pod, container } }: Lease): LeaseLabels {
  return { client, namespace, pod, container };
}
