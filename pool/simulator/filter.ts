import type { Gpu } from "../inventory.ts";

/** What the simulated server knows of itself that a filter can ask for. */
export interface FilterSubject {
  readonly hostname: string;
  readonly gpu: Gpu;
}

const VALUES: Record<string, (subject: FilterSubject) => string> = {
  "server.hostname": ({ hostname }) => hostname,
  "device.id": ({ gpu }) => gpu.id,
  "device.name": ({ gpu }) => gpu.model,
  "device.phy-memory": ({ gpu }) => String(gpu.memoryMb),
};

/** The filter keys that a simulated server answers; `server.addr` is the client's part. */
export const SERVER_FILTERS: readonly string[] = Object.keys(VALUES);

/** Whether the subject has `value` under `key`. A key outside {@link SERVER_FILTERS} matches nothing. */
export function matchesFilter(subject: FilterSubject, { key, value }: { key: string; value: string }): boolean {
  return VALUES[key]?.(subject) === value;
}
