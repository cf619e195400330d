import { RESOURCE_SLICES, type ResourceSlice } from "../../kubernetes/objects/resource_slice.ts";
import { heading, table } from "../print.ts";
import { waitFor } from "../wait_for.ts";
import type { Demo } from "./demo.ts";

/** Shows the devices that the controller publishes. */
export async function showSlices(number: number, { store, servers, signal }: Demo): Promise<void> {
  heading(
    number,
    "The controller publishes each GPU as a device in a ResourceSlice",
    "Any number of claims can share a device, up to its 100 units of consumable capacity. One unit is one percent.",
  );
  const gpus = (await Promise.all(servers.map((server) => server.gpus()))).flat();
  const read = () => {
    const slices = store.list<ResourceSlice>(RESOURCE_SLICES);
    const devices = slices.flatMap(({ spec }) =>
      (spec.devices ?? []).map((device) => ({ pool: spec.pool.name, device })),
    );
    return devices.length === gpus.length ? devices : undefined;
  };
  const devices = await waitFor(`${gpus.length} devices in ResourceSlices`, read, signal);
  table(
    ["RESOURCESLICE", "DEVICE", "ATTRIBUTE ID", "CAPACITY"],
    devices.map(({ pool, device: { name, attributes, capacity } }) => [
      pool,
      name,
      String(Object.values(attributes?.id ?? {})[0]),
      Object.entries(capacity ?? {})
        .map(([key, { value }]) => `${key}: ${value}`)
        .sort()
        .reverse()
        .join(", "),
    ]),
  );
}
