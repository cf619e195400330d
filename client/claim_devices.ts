import type { AllocatedDevice } from "../pool/allocated_device.ts";
import { deviceName } from "../pool/device_name.ts";
import type { Owner } from "../pool/lease.ts";
import { messageOf } from "../program/log/log.ts";
import type { PoolClaimResult } from "./claim_result.ts";
import { CALL_TIMEOUT, claimFrom, releaseAll, type Server, type ServerLease } from "./server_claim.ts";

/** GPUs of one server, of each of which as many units are claimed. */
interface Part {
  readonly server: Server;
  readonly units: number;
  readonly gpuIds: string[];
}

/** Claims exactly these GPUs, wherever they are; everything or nothing. */
export async function claimDevices(
  servers: readonly Server[],
  { owner, devices }: { owner: Owner; devices: readonly AllocatedDevice[] },
  signal: AbortSignal,
): Promise<PoolClaimResult> {
  const { found, failures } = await findDevices(servers, devices, signal);
  const missing = devices.filter(({ device }) => !found.has(device)).map(({ device }) => device);
  if (missing.length > 0) {
    const what = `No server has the GPU ${missing.join(", ")}`;
    return failures.length > 0 ? { wait: [what, ...failures].join("; ") } : { impossible: what };
  }
  const leases: ServerLease[] = [];
  for (const { server, units, gpuIds } of partsOf(devices, found)) {
    const claim = { owner, share: { gpus: gpuIds.length, percent: units }, filters: [], gpuIds };
    const answer = await claimFrom(server, claim, signal).catch(async (error) => {
      await releaseAll(leases);
      throw error;
    });
    if ("lease" in answer) {
      leases.push(answer.lease);
      continue;
    }
    await releaseAll(leases);
    const reason = "failure" in answer ? answer.failure : `${units} % of it is not free`;
    return { wait: `The GPU ${gpuIds.join(", ")} is ours, but ${reason}` };
  }
  return { leases };
}

interface Found {
  readonly server: Server;
  readonly gpuId: string;
}

/** Where GPUs are, by their device's name. */
async function findDevices(servers: readonly Server[], devices: readonly AllocatedDevice[], signal: AbortSignal) {
  const wanted = new Set(devices.map(({ device }) => device));
  const found = new Map<string, Found>();
  const failures: string[] = [];
  for (const server of servers) {
    try {
      const { inventory } = await server.client.getInventory({}, { signal, timeoutMs: CALL_TIMEOUT });
      for (const { id } of inventory?.gpus ?? []) {
        const name = deviceName(id);
        if (wanted.has(name) && !found.has(name)) found.set(name, { server, gpuId: id });
      }
    } catch (error) {
      signal.throwIfAborted();
      failures.push(`${server.address}: ${messageOf(error)}`);
    }
  }
  return { found, failures };
}

/** One lease of a server for as many of its GPUs as may be. */
function partsOf(devices: readonly AllocatedDevice[], found: ReadonlyMap<string, Found>): Iterable<Part> {
  const parts = new Map<string, Part>();
  for (const { device, units } of devices) {
    const { server, gpuId } = found.get(device) as Found;
    const key = `${server.address} ${units}`;
    const part = parts.get(key) ?? { server, units, gpuIds: [] };
    part.gpuIds.push(gpuId);
    parts.set(key, part);
  }
  return parts.values();
}
