import { deviceName } from "../../../pool/device_name.ts";
import type { PoolServers } from "../../../pool/sources/pool_servers.ts";
import { messageOf } from "../../../program/log/log.ts";

/** Where a GPU is. */
export interface GpuLocation {
  /** host:port of its server. */
  readonly address: string;
  readonly gpuId: string;
}

/** Limit of one call, in ms. */
export const CALL_TIMEOUT = 5000;

/**
 * Finds the server and the GPU id of each device. It asks all servers at once, and waits for no more of them than it needs.
 *
 * @throws {Error} names the devices that no server has, and the servers that did not answer.
 */
export async function locateGpus(
  devices: Iterable<string>,
  pool: Pick<PoolServers, "addresses" | "client">,
  signal: AbortSignal,
): Promise<ReadonlyMap<string, GpuLocation>> {
  const missing = new Set(devices);
  const names = [...missing];
  const locations = new Map<string, GpuLocation>();
  const failures: string[] = [];
  const found = Promise.withResolvers<void>();
  const stop = new AbortController();
  const untilStopped = AbortSignal.any([signal, stop.signal]);

  async function ask(address: string): Promise<void> {
    try {
      const options = { signal: untilStopped, timeoutMs: CALL_TIMEOUT };
      const { inventory } = await pool.client(address).getInventory({ devices: names }, options);
      for (const { id: gpuId } of inventory?.gpus ?? []) {
        const name = deviceName(gpuId);
        if (missing.delete(name)) locations.set(name, { address, gpuId });
      }
      if (missing.size === 0) found.resolve();
    } catch (error) {
      failures.push(`${address}: ${messageOf(error)}`);
    }
  }

  const asked = Promise.all((await pool.addresses()).map(ask));
  await Promise.race([found.promise, asked]);
  stop.abort();
  signal.throwIfAborted();
  if (missing.size === 0) return locations;
  throw new Error([`No pool server has the GPU ${[...missing].join(", ")}`, ...failures].join("; "));
}
