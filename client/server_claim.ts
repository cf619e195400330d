import { durationMs } from "@bufbuild/protobuf/wkt";
import { type Client, Code, ConnectError } from "@connectrpc/connect";
import type { Filter } from "../pool/filter.ts";
import type { GpuShare, Owner } from "../pool/lease.ts";
import type { Share } from "../pool/share.ts";
import { messageOf } from "../program/log/log.ts";
import { type PoolService, ShortageSchema } from "../proto/gen/bitfusion/pool/v1/pool_pb.ts";

/** Longest time for one call, in ms. */
export const CALL_TIMEOUT = 5000;

/** A server of the pool. */
export interface Server {
  readonly address: string;
  readonly client: Client<typeof PoolService>;
}

/** What is held of one server. */
export interface ServerLease {
  readonly address: string;
  readonly client: Client<typeof PoolService>;
  readonly id: string;
  readonly gpus: readonly GpuShare[];
  /** In ms. */
  readonly timeToLive: number;
}

export interface PoolClaim {
  readonly owner: Owner;
  readonly share: Share;
  readonly filters: readonly Filter[];
}

/** What one server answers to a claim. */
export type ServerAnswer = { lease: ServerLease } | { available: number; capable: number } | { failure: string };

/** @throws {ConnectError} with InvalidArgument when the server refuses the claim itself; whatever it is, once the signal is aborted. */
export async function claimFrom(
  { address, client }: Server,
  { owner, share, filters, gpuIds = [] }: PoolClaim & { gpuIds?: readonly string[] },
  signal: AbortSignal,
): Promise<ServerAnswer> {
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
    const { lease, timeToLive } = await client.claim(request, { signal, timeoutMs: CALL_TIMEOUT });
    if (!lease || !timeToLive) throw new Error("The answer has no lease");
    return { lease: { address, client, id: lease.id, gpus: lease.gpus, timeToLive: durationMs(timeToLive) } };
  } catch (error) {
    signal.throwIfAborted();
    const [shortage] = ConnectError.from(error).findDetails(ShortageSchema);
    if (shortage) return { available: shortage.availableGpus, capable: shortage.capableGpus };
    if (ConnectError.from(error).code === Code.InvalidArgument) throw error;
    return { failure: `${address}: ${messageOf(error)}` };
  }
}

/** Gives everything back; what cannot be reached ends by itself, and the reasons are returned. */
export async function releaseAll(leases: readonly ServerLease[]): Promise<string[]> {
  const results = await Promise.allSettled(
    leases.map(({ client, id }) => client.release({ leaseId: id }, { timeoutMs: CALL_TIMEOUT })),
  );
  return results.flatMap((result, index) =>
    result.status === "rejected" ? [`${leases[index]?.address}: ${messageOf(result.reason)}`] : [],
  );
}
