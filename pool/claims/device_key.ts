/** Units that claims hold, by {@link deviceKey}. Devices without held units are absent. */
export type HeldUnits = ReadonlyMap<string, number>;

/** The key of a device in allocations. */
export function deviceKey(pool: string, device: string): string {
  return `${pool}/${device}`;
}

/** The parts of a {@link deviceKey}. */
export function splitDeviceKey(key: string): { pool: string; device: string } {
  const slash = key.lastIndexOf("/"); // a pool name may have slashes, a device name is a DNS label
  return { pool: key.slice(0, slash), device: key.slice(slash + 1) };
}
