import type { ResourceSlice } from "../../kubernetes/objects/resource_slice.ts";
import { attributesOfDevice } from "../../pool/attributes.ts";
import { splitDeviceKey } from "../../pool/claims/device_key.ts";

/**
 * The attribute `server` of published devices. Undefined if a slice does not tell it.
 *
 * @param devices by {@link deviceKey}
 * @param slices by name, which is that of their pool
 */
export function serversOf(
  devices: readonly string[],
  slices: ReadonlyMap<string, ResourceSlice>,
): ReadonlySet<string> | undefined {
  const servers = new Set<string>();
  for (const key of devices) {
    const { pool, device } = splitDeviceKey(key);
    const published = slices.get(pool)?.spec.devices?.find(({ name }) => name === device);
    const { server } = published ? attributesOfDevice(published) : {};
    if (server === undefined) return undefined;
    servers.add(server);
  }
  return servers;
}
