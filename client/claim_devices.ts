import type { AllocatedDevice } from "../pool/allocated_device.ts";
import { deviceName } from "../pool/device_name.ts";
import type { LeaseOwner } from "../pool/lease.ts";
import { messageOf } from "../program/log/log.ts";
import type { PoolClaimResult } from "./claim_result.ts";
import {
  CALL_TIMEOUT,
  claimLease,
  releaseAll,
  type Server,
  type ServerClaimResult,
  type ServerLease,
} from "./server_lease.ts";

/** A claim on GPUs of one server, with the same units of each. */
interface ServerClaim {
  readonly server: Server;
  /** Percent of each GPU, 1 to 100. */
  readonly units: number;
  readonly gpuIds: string[];
}

/** Claims exactly these GPUs on the servers that have them: all or nothing. */
export async function claimDevices(
  servers: readonly Server[],
  { owner, devices }: { owner: LeaseOwner; devices: readonly AllocatedDevice[] },
  signal: AbortSignal,
): Promise<PoolClaimResult> {
  const { locations, failures } = await findDevices(servers, devices, signal);
  const missing = devices.filter(({ device }) => !locations.has(device)).map(({ device }) => device);
  if (missing.length > 0) {
    const reason = `No server has the GPU ${missing.join(", ")}`;
    return failures.length > 0 ? { wait: [reason, ...failures].join("; ") } : { impossible: reason };
  }
  const leases: ServerLease[] = [];
  for (const { server, units, gpuIds } of groupByServer(devices, locations)) {
    const claim = { owner, share: { gpus: gpuIds.length, percent: units }, filters: [], gpuIds };
    const result = await claimLease(server, claim, signal).catch(async (error) => {
      await releaseAll(leases);
      throw error;
    });
    if ("lease" in result) {
      leases.push(result.lease);
      continue;
    }
    await releaseAll(leases);
    return { wait: `The scheduler chose the GPU ${gpuIds.join(", ")}, but ${reasonOf(result, { units, gpuIds })}` };
  }
  return { leases };
}

/** Says why a server has not granted a claim. */
function reasonOf(
  result: Exclude<ServerClaimResult, { lease: ServerLease }>,
  { units, gpuIds }: Omit<ServerClaim, "server">,
): string {
  if ("failure" in result) return result.failure;
  const one = gpuIds.length === 1;
  if (result.capable < gpuIds.length) return one ? "it is not healthy" : "not all of them are healthy";
  return `${units} % of ${one ? "it" : "each"} is not free`;
}

interface GpuLocation {
  readonly server: Server;
  readonly gpuId: string;
}

/** Returns the server and the GPU id of each device, by device name, and the failures of unreachable servers. */
async function findDevices(servers: readonly Server[], devices: readonly AllocatedDevice[], signal: AbortSignal) {
  const names = new Set(devices.map(({ device }) => device));
  const locations = new Map<string, GpuLocation>();
  const failures: string[] = [];
  for (const server of servers) {
    try {
      const { inventory } = await server.client.getInventory(
        { devices: [...names] },
        { signal, timeoutMs: CALL_TIMEOUT },
      );
      for (const { id } of inventory?.gpus ?? []) {
        const name = deviceName(id);
        if (names.has(name) && !locations.has(name)) locations.set(name, { server, gpuId: id });
      }
    } catch (error) {
      signal.throwIfAborted();
      failures.push(`${server.address}: ${messageOf(error)}`);
    }
  }
  return { locations, failures };
}

/** Groups devices into as few claims as possible: one for each server and number of units. */
function groupByServer(
  devices: readonly AllocatedDevice[],
  locations: ReadonlyMap<string, GpuLocation>,
): Iterable<ServerClaim> {
  const claims = new Map<string, ServerClaim>();
  for (const { device, units } of devices) {
    const { server, gpuId } = locations.get(device) as GpuLocation;
    const key = `${server.address} ${units}`;
    const claim = claims.get(key) ?? { server, units, gpuIds: [] };
    claim.gpuIds.push(gpuId);
    claims.set(key, claim);
  }
  return claims.values();
}
