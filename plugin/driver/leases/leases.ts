import { setTimeout as sleep } from "node:timers/promises";
import { durationMs, timestampMs } from "@bufbuild/protobuf/wkt";
import { ConnectError } from "@connectrpc/connect";
import { formatTime } from "../../../kubernetes/formats/time.ts";
import { deviceName } from "../../../pool/device_name.ts";
import type { Gpu } from "../../../pool/inventory.ts";
import { type ClaimAllocation, MAX_RENEWALS } from "../../../pool/lease.ts";
import type { PoolServers } from "../../../pool/sources/pool_servers.ts";
import { messageOf } from "../../../program/log/log.ts";
import { ShortageSchema } from "../../../proto/gen/bitfusion/pool/v1/pool_pb.ts";
import type { GpuShare } from "../claims/claim.ts";
import { type HeldLease, type LeasedClaim, type LeaseRequest, requestIdOf } from "./held_lease.ts";
import { CALL_TIMEOUT, type GpuLocation, type GpuLocations } from "./locate.ts";

/**
 * How long units that are not free are asked for again, in ms. The scheduler has given them to this claim, so the controller is about to end a lease of
 * the claim that had them before. The kubelet would try again only after 60 to 90 s.
 */
const PATIENCE = 5000;

/** What a server tells about the health of a GPU. */
export type GpuHealth = Pick<Gpu, "id" | "healthy" | "problem">;

/** Time between two of these attempts, in ms. */
const RETRY_AFTER = 200;

/**
 * Takes leases on exactly the GPUs and units of a claim, where these are, on all servers that have them: all or nothing. A repeat returns the same leases.
 *
 * @throws {Error} names the server and the reason.
 */
export async function takeLeases(
  claim: LeasedClaim,
  locations: GpuLocations,
  pool: PoolServers,
  signal: AbortSignal,
): Promise<HeldLease[]> {
  const requests = requestsFor(claim, locations);
  const deadline = performance.now() + PATIENCE;
  const results = await Promise.allSettled(
    requests.map(async (request) => {
      for (;;) {
        try {
          return await takeLease(request, claim, pool, signal);
        } catch (error) {
          if (!(error instanceof NotFreeError) || performance.now() > deadline) throw error;
          await sleep(RETRY_AFTER, undefined, { signal });
        }
      }
    }),
  );
  const leases = results.flatMap((result) => (result.status === "fulfilled" ? [result.value] : []));
  if (leases.length === requests.length) return leases;
  await releaseLeases(leases, pool);
  signal.throwIfAborted();
  const failures = results.flatMap((result) => (result.status === "rejected" ? [messageOf(result.reason)] : []));
  throw new Error(failures.join("; "));
}

/** One request for each server and number of units. Several shares of one GPU add up. */
function requestsFor(claim: LeasedClaim, locations: GpuLocations): LeaseRequest[] {
  const gpus = Map.groupBy(claim.shares, ({ device }) => device);
  const parts = Array.from(gpus, ([device, shares]) => {
    const { address, gpuId } = locations.get(device) as GpuLocation;
    return { address, gpuId, shares, units: shares.reduce((sum, { units }) => sum + units, 0) };
  });
  const groups = Map.groupBy(parts, ({ address, units }) => `${address} ${units}`);
  return Array.from(groups.values(), (group) => {
    const [{ address, units }] = group as [(typeof parts)[number]];
    const shares: readonly GpuShare[] = group.flatMap((part) => part.shares);
    return { address, units, gpuIds: group.map(({ gpuId }) => gpuId), requestId: requestIdOf(claim, shares) };
  });
}

/** Thrown when others hold the units of a lease. */
class NotFreeError extends Error {
  override name = "NotFreeError";
}

/**
 * Takes one lease, or returns the one that this request was granted before.
 *
 * @throws {NotFreeError} if others hold the units.
 * @throws {Error} names the server and the reason.
 */
export async function takeLease(
  request: LeaseRequest,
  claim: LeasedClaim,
  pool: Pick<PoolServers, "client">,
  signal: AbortSignal,
): Promise<HeldLease> {
  const { address, requestId, gpuIds, units } = request;
  try {
    const { lease, secret, timeToLive, gate } = await pool.client(address).claim(
      {
        owner: { ...claim.owner },
        gpus: gpuIds.length,
        share: { case: "percent", value: units },
        gpuIds: [...gpuIds],
        requestId,
        resourceClaim: allocationOf(claim, gpuIds),
      },
      { signal, timeoutMs: CALL_TIMEOUT },
    );
    if (!lease || !timeToLive) throw new Error("the response contains no lease");
    const { id: leaseId, grantedAt } = lease;
    return {
      ...{ address, requestId, gpuIds: [...gpuIds], units, leaseId, secret },
      gatePort: gate?.port,
      timeToLive: durationMs(timeToLive),
      ...(grantedAt ? { grantedAt: formatTime(timestampMs(grantedAt)) } : {}),
    };
  } catch (error) {
    const [shortage] = ConnectError.from(error).findDetails(ShortageSchema);
    if (!shortage) throw new Error(`Pool server ${address}: ${messageOf(error)}`);
    const [several, gpus] = [gpuIds.length > 1, `Pool server ${address}: GPU ${gpuIds.join(", ")}`];
    if (shortage.capableGpus < gpuIds.length)
      throw new Error(`${gpus}: ${several ? "not all of them are" : "it is not"} healthy`);
    throw new NotFreeError(`${gpus}: ${units} % of ${several ? "each" : "it"} is not free`);
  }
}

/** What a lease on these GPUs is for. */
function allocationOf({ namespace, name, uid, node, shares }: LeasedClaim, gpuIds: readonly string[]) {
  const devices = new Set(gpuIds.map(deviceName));
  const shareIds = shares.flatMap(({ device, shareId }) => (devices.has(device) ? (shareId ?? []) : []));
  return { namespace, name, uid, node, shareIds } satisfies ClaimAllocation;
}

/** What became of an attempt to renew a lease. */
export type Renewal =
  | {
      readonly lease: HeldLease;
      /** What the server tells about the GPUs of the lease. It does not tell of one that it has no more. */
      readonly gpus: readonly GpuHealth[];
    }
  /** The lease expired, the controller ended it, or the server has lost it. */
  | "ended"
  /** Names the server and the reason. The lease may last for the rest of its time to live. */
  | { readonly failure: string };

/** Renews the leases that a server has granted, in one call. Returns what became of each, by its id. */
export async function renewLeases(
  address: string,
  leases: readonly HeldLease[],
  pool: Pick<PoolServers, "client">,
  signal: AbortSignal,
): Promise<Map<string, Renewal>> {
  const renewals = new Map<string, Renewal>();
  for (let start = 0; start < leases.length; start += MAX_RENEWALS) {
    const part = leases.slice(start, start + MAX_RENEWALS);
    const renewed = await renewTogether(address, part, pool, signal).catch((error) => {
      const failure = `Pool server ${address}: ${messageOf(error)}`;
      return part.map(() => ({ failure }));
    });
    part.forEach(({ leaseId }, index) => void renewals.set(leaseId, renewed[index] ?? "ended"));
  }
  return renewals;
}

async function renewTogether(
  address: string,
  leases: readonly HeldLease[],
  pool: Pick<PoolServers, "client">,
  signal: AbortSignal,
): Promise<Renewal[]> {
  const request = { leases: leases.map(({ leaseId, secret }) => ({ leaseId, secret })) };
  const { renewals, gpus, gate } = await pool.client(address).renewLeases(request, { signal, timeoutMs: CALL_TIMEOUT });
  if (renewals.length !== leases.length) {
    throw new Error(`the response has ${renewals.length} renewals: expected ${leases.length}`);
  }
  return leases.map((lease, index) => {
    const timeToLive = renewals[index]?.timeToLive;
    if (!timeToLive) return "ended";
    const own = gpus.filter(({ id }) => lease.gpuIds.includes(id));
    return { lease: { ...lease, gatePort: gate?.port, timeToLive: durationMs(timeToLive) }, gpus: own };
  });
}

/** Releases leases. Returns the failures: a lease on a server that cannot be reached expires by itself. */
export async function releaseLeases(
  leases: readonly HeldLease[],
  pool: Pick<PoolServers, "client">,
): Promise<string[]> {
  const results = await Promise.allSettled(
    leases.map(async ({ address, leaseId, secret }) => {
      await pool.client(address).release({ leaseId, secret }, { timeoutMs: CALL_TIMEOUT });
    }),
  );
  return results.flatMap((result, index) =>
    result.status === "rejected" ? [`Pool server ${leases[index]?.address}: ${messageOf(result.reason)}`] : [],
  );
}
