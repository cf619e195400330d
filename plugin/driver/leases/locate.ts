import { addressAttributes, attributesOfDevice } from "../../../pool/attributes.ts";
import { deviceName } from "../../../pool/device_name.ts";
import type { PoolServers } from "../../../pool/sources/pool_servers.ts";
import { messageOf } from "../../../program/log/log.ts";
import type { GpuShare, ReadSlice } from "../claims/claim.ts";

/** Where a GPU is. */
export interface GpuLocation {
  /** host:port of its server. */
  readonly address: string;
  readonly gpuId: string;
  /** As its server reports it. */
  readonly model: string;
}

/** Where GPUs are, by their device. */
export type GpuLocations = ReadonlyMap<string, GpuLocation>;

/** What is known of the pool. */
export interface LocateOptions {
  pool: Pick<PoolServers, "addresses" | "client">;
  readSlice: ReadSlice;
}

/** Limit of one call, in ms. */
export const CALL_TIMEOUT = 5000;

/**
 * Finds the server and the GPU id of each device. The slices tell the servers, of which only the configured ones are asked.
 *
 * @throws {Error} names the slice that lacks a device, or the servers that do not have a GPU or do not answer.
 */
export async function locateGpus(
  shares: readonly Pick<GpuShare, "pool" | "device">[],
  { pool, readSlice }: LocateOptions,
  signal: AbortSignal,
): Promise<GpuLocations> {
  const locations = new Map<string, GpuLocation>();

  async function ask(address: string, devices: readonly string[]): Promise<void> {
    const missing = new Set(devices);
    const options = { signal, timeoutMs: CALL_TIMEOUT };
    const { inventory } = await pool.client(address).getInventory({ devices: [...devices] }, options);
    for (const { id: gpuId, model } of inventory?.gpus ?? []) {
      const name = deviceName(gpuId);
      if (missing.delete(name)) locations.set(name, { address, gpuId, model });
    }
    if (missing.size > 0) throw new Error(`it has no GPU ${[...missing].join(", ")}`);
  }

  const servers = await findServers(shares, readSlice, signal);
  const addresses = new Map((await pool.addresses()).map((address) => [addressAttributes(address).server, address]));
  const failures: string[] = [];
  await Promise.all(
    Array.from(servers, async ([server, devices]) => {
      const address = addresses.get(server);
      if (address === undefined)
        failures.push(`Pool server ${server}, which has a GPU of the claim, is not configured`);
      else await ask(address, devices).catch((error) => failures.push(`Pool server ${address}: ${messageOf(error)}`));
    }),
  );
  signal.throwIfAborted();
  if (failures.length > 0) throw new Error(failures.join("; "));
  return locations;
}

/** The devices of each server, by its attribute `server`. In Kubernetes, each slice of the driver is a pool of its own with the same name. */
async function findServers(
  shares: readonly Pick<GpuShare, "pool" | "device">[],
  readSlice: ReadSlice,
  signal: AbortSignal,
): Promise<ReadonlyMap<string, readonly string[]>> {
  const names = Map.groupBy(shares, ({ pool }) => pool);
  const lists = await Promise.all(
    Array.from(names, async ([name, group]) => {
      const slice = await readSlice(name, signal);
      const devices = new Set(group.map(({ device }) => device));
      return Array.from(devices, (device) => {
        const found = slice?.spec.devices?.find((each) => each.name === device);
        if (!found) throw new Error(`ResourceSlice ${name} has no device ${device}, which was allocated to the claim`);
        return { device, server: attributesOfDevice(found).server ?? "" };
      });
    }),
  );
  const byServer = Map.groupBy(lists.flat(), ({ server }) => server);
  return new Map(Array.from(byServer, ([server, list]) => [server, list.map(({ device }) => device)]));
}
