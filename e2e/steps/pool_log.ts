import * as v from "valibot";
import { SERVERS } from "../cluster/pool.ts";
import { exec } from "./exec.ts";

const Line = v.object({
  "@timestamp": v.string(),
  message: v.picklist(["Lease granted", "Lease ended", "Claim refused"]),
  owner: v.object({ namespace: v.string(), pod: v.string(), container: v.string() }),
  gpus: v.optional(v.array(v.object({ gpuId: v.string(), units: v.number() })), []),
});

/** What a server of the pool says of a claim. */
export type PoolEvent = v.InferOutput<typeof Line>;

/** What the servers' own logs say of a namespace's claims, in order. */
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

/** What came of a load. */
export interface LoadRecord {
  readonly granted: number;
  readonly refused: number;
  /** Leases that were held at the same time, at the most. */
  readonly mostLeases: number;
  /** Units of one GPU that were held at the same time, at the most. */
  readonly mostUnits: number;
}

export function recordOf(events: readonly PoolEvent[]): LoadRecord {
  const units = new Map<string, number>();
  const record = { granted: 0, refused: 0, mostLeases: 0, mostUnits: 0 };
  let leases = 0;
  for (const { message, gpus } of events) {
    if (message === "Claim refused") {
      record.refused += 1;
      continue;
    }
    const sign = message === "Lease granted" ? 1 : -1;
    if (sign > 0) record.granted += 1;
    leases += sign;
    for (const { gpuId, units: own } of gpus) units.set(gpuId, (units.get(gpuId) ?? 0) + sign * own);
    record.mostLeases = Math.max(record.mostLeases, leases);
    record.mostUnits = Math.max(record.mostUnits, ...units.values());
  }
  return record;
}

/** The leases that a pod has had. */
export async function leasesOf(namespace: string, pod: string): Promise<PoolEvent[]> {
  const events = await poolEvents(namespace);
  return events.filter(({ message, owner }) => message === "Lease granted" && owner.pod === pod);
}
