import * as v from "valibot";
import { SERVERS } from "../cluster/pool.ts";
import { exec } from "../steps/exec.ts";

const Line = v.object({
  "@timestamp": v.string(),
  message: v.picklist(["Lease granted", "Lease ended", "Claim refused"]),
  owner: v.object({ namespace: v.string(), pod: v.string(), container: v.string() }),
  gpus: v.optional(v.array(v.object({ gpuId: v.string(), units: v.number() })), []),
});

/** A line about a claim or lease in a pool server's log. */
export type PoolEvent = v.InferOutput<typeof Line>;

/** Reads from the pool servers' logs the events of a namespace, ordered by time. */
export async function poolEvents(namespace: string): Promise<PoolEvent[]> {
  const logs = await Promise.all(SERVERS.map(({ name }) => exec(["docker", "logs", name])));
  return logs
    .flatMap((log) => log.split("\n"))
    .filter((line) => line.startsWith("{"))
    .flatMap((line) => {
      const { success, output } = v.safeParse(Line, JSON.parse(line));
      return success && output.owner.namespace === namespace ? [output] : [];
    })
    .sort((a, b) => a["@timestamp"].localeCompare(b["@timestamp"]));
}

/** Totals over a list of pool events. */
export interface LeaseSummary {
  readonly granted: number;
  readonly refused: number;
  /** Most leases held at the same time. */
  readonly maxLeases: number;
  /** Most units of one GPU held at the same time. */
  readonly maxUnits: number;
}

/** Adds up pool events that are ordered by time. */
export function summarizeLeases(events: readonly PoolEvent[]): LeaseSummary {
  const units = new Map<string, number>();
  const summary = { granted: 0, refused: 0, maxLeases: 0, maxUnits: 0 };
  let leases = 0;
  for (const { message, gpus } of events) {
    if (message === "Claim refused") {
      summary.refused += 1;
      continue;
    }
    const sign = message === "Lease granted" ? 1 : -1;
    if (sign > 0) summary.granted += 1;
    leases += sign;
    for (const { gpuId, units: leased } of gpus) units.set(gpuId, (units.get(gpuId) ?? 0) + sign * leased);
    summary.maxLeases = Math.max(summary.maxLeases, leases);
    summary.maxUnits = Math.max(summary.maxUnits, ...units.values());
  }
  return summary;
}

/** Returns every lease that was granted to a pod, also if it has ended. */
export async function leasesOf(namespace: string, pod: string): Promise<PoolEvent[]> {
  const events = await poolEvents(namespace);
  return events.filter(({ message, owner }) => message === "Lease granted" && owner.pod === pod);
}
