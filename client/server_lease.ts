import { type Duration, durationMs } from "@bufbuild/protobuf/wkt";
import { type Client, Code, ConnectError } from "@connectrpc/connect";
import type { Filter } from "../pool/filter.ts";
import type { GpuShare, LeaseOwner } from "../pool/lease.ts";
import type { Share } from "../pool/share.ts";
import { messageOf } from "../program/log/log.ts";
import { type PoolService, ShortageSchema } from "../proto/gen/bitfusion/pool/v1/pool_pb.ts";

/** Timeout of one call, in ms. */
const CALL_TIMEOUT = 5000;

/** A server of the pool. */
export interface Server {
  readonly address: string;
  readonly client: Client<typeof PoolService>;
  /**
   * The id of each claim that was sent, by its content. If a claim was granted but not answered, its repeat gets the
   * same lease.
   */
  readonly requestIds: Map<string, string>;
}

/** A lease on GPUs of one server. */
export interface ServerLease {
  readonly address: string;
  readonly client: Client<typeof PoolService>;
  readonly id: string;
  /** Proves the lease to the server. */
  readonly secret: string;
  readonly gpus: readonly GpuShare[];
  /** The performance.now() at which the claim was sent. The lease is valid for its time to live from then on, or longer. */
  readonly sentAt: number;
  /** In ms. */
  readonly timeToLive: number;
}

export interface PoolClaim {
  readonly owner: LeaseOwner;
  readonly share: Share;
  readonly filters: readonly Filter[];
}

/**
 * The result of a claim on one server. `available` GPUs can hold the share now; `capable` GPUs could if no other client
 * held any. A `failure` names the server and the reason.
 */
export type ServerClaimResult = { lease: ServerLease } | { available: number; capable: number } | { failure: string };

/**
 * Claims a lease from one server: on exactly `gpuIds`, or on GPUs that the server chooses.
 *
 * @throws {ConnectError} with InvalidArgument when the server rejects the claim as invalid.
 * @throws the signal's reason when the signal is aborted.
 */
export async function claimLease(
  { address, client, requestIds }: Server,
  { owner, share, filters, gpuIds = [] }: PoolClaim & { gpuIds?: readonly string[] },
  signal: AbortSignal,
): Promise<ServerClaimResult> {
  try {
    const amount =
      "percent" in share
        ? ({ case: "percent", value: share.percent } as const)
        : ({ case: "memoryMb", value: BigInt(share.memoryMb) } as const);
    const request = {
      owner: { ...owner },
      gpus: share.gpus,
      share: amount,
      filters: [...filters],
      gpuIds: [...gpuIds],
    };
    const requestId = requestIds.getOrInsertComputed(JSON.stringify([share, filters, gpuIds]), () =>
      crypto.randomUUID(),
    );
    const sentAt = performance.now();
    const { lease, secret, timeToLive } = await client.claim(
      { ...request, requestId },
      { signal, timeoutMs: CALL_TIMEOUT },
    );
    if (!lease || !timeToLive) throw new Error("The response contains no lease");
    return {
      lease: {
        address,
        client,
        id: lease.id,
        secret,
        gpus: lease.gpus,
        sentAt,
        timeToLive: readTimeToLive(timeToLive),
      },
    };
  } catch (error) {
    signal.throwIfAborted();
    const [shortage] = ConnectError.from(error).findDetails(ShortageSchema);
    if (shortage) return { available: shortage.availableGpus, capable: shortage.capableGpus };
    if (ConnectError.from(error).code === Code.InvalidArgument) throw error;
    return { failure: `${address}: ${messageOf(error)}` };
  }
}

/** Shortest time to live that a client can keep, in ms: servers set 100 or more. */
const MIN_TIME_TO_LIVE = 50;

/** Returns a lease's time to live in ms. @throws {Error} if it is too short to be renewed in time. */
export function readTimeToLive(timeToLive: Duration): number {
  const time = durationMs(timeToLive);
  if (time >= MIN_TIME_TO_LIVE) return time;
  throw new Error(`time_to_live is ${time} ms: expected ${MIN_TIME_TO_LIVE} or more`);
}

/** Releases all leases. Returns the failures: a lease on an unreachable server expires by itself. */
export async function releaseAll(leases: readonly ServerLease[]): Promise<string[]> {
  const results = await Promise.allSettled(
    leases.map(({ client, id, secret }) => client.release({ leaseId: id, secret }, { timeoutMs: CALL_TIMEOUT })),
  );
  return results.flatMap((result, index) =>
    result.status === "rejected" ? [`${leases[index]?.address}: ${messageOf(result.reason)}`] : [],
  );
}
