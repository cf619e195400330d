import { durationMs } from "@bufbuild/protobuf/wkt";
import { type Client, Code, ConnectError, createClient } from "@connectrpc/connect";
import { connectTcp } from "../../../grpc/client.ts";
import { messageOf } from "../../../program/log.ts";
import { PoolService, ShortageSchema } from "../../../proto/gen/bitfusion/pool/v1/pool_pb.ts";
import { addressAttributes, deviceName } from "../../device.ts";
import { type Filter, matchesFilter } from "../../filter.ts";
import type { Share } from "../../share.ts";
import type { GpuShare, Owner } from "../ledger.ts";
import type { AllocatedDevice } from "./allocation.ts";

/** Longest time for one call, in ms. */
const CALL_TIMEOUT = 5000;

/** What is held of one server. */
export interface ServerLease {
  readonly address: string;
  readonly client: Client<typeof PoolService>;
  readonly id: string;
  readonly gpus: readonly GpuShare[];
  /** In ms. */
  readonly timeToLive: number;
}

/** What a pool of servers answers to one claim. */
export type PoolAnswer =
  | { readonly leases: readonly ServerLease[] }
  /** Worth another try: who is full or away. */
  | { readonly wait: string }
  /** All servers have answered, and it can never be. */
  | { readonly impossible: string };

export interface PoolClaim {
  readonly owner: Owner;
  readonly share: Share;
  readonly filters: readonly Filter[];
}

/** The servers of a pool, to claim from. Disposal closes the connections. */
export interface PoolClient extends Disposable {
  claim(claim: PoolClaim, signal: AbortSignal): Promise<PoolAnswer>;
  /** Exactly these GPUs, wherever they are; everything or nothing. */
  claimDevices(owner: Owner, devices: readonly AllocatedDevice[], signal: AbortSignal): Promise<PoolAnswer>;
}

interface Server {
  readonly address: string;
  readonly client: Client<typeof PoolService>;
}

type ServerAnswer = { lease: ServerLease } | { available: number; capable: number } | { failure: string };

export function createPoolClient(addresses: readonly string[]): PoolClient {
  const servers = addresses.map((address) => {
    const channel = connectTcp(address);
    return { address, channel, client: createClient(PoolService, channel.transport) };
  });

  async function claimFrom(
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

  return {
    /** All GPUs from one server if one has them, else from several; everything or nothing. */
    async claim({ owner, share, filters }, signal) {
      const wanted = filters.filter(({ key }) => key === "server.addr");
      const matching = servers.filter(({ address }) =>
        wanted.every((filter) => matchesFilter(filter, addressAttributes(address))),
      );
      if (matching.length === 0) {
        return {
          impossible: `No server of the pool has the address ${wanted.map(({ value }) => value).join(" and ")}`,
        };
      }
      const rest = filters.filter((filter) => !wanted.includes(filter));

      const failures: string[] = [];
      const partial: { server: (typeof servers)[number]; available: number }[] = [];
      let capable = 0;
      for (const server of matching) {
        const answer = await claimFrom(server, { owner, share, filters: rest }, signal);
        if ("lease" in answer) return { leases: [answer.lease] };
        if ("failure" in answer) failures.push(answer.failure);
        else {
          capable += answer.capable;
          partial.push({ server, available: answer.available });
        }
      }
      if (capable < share.gpus && failures.length === 0) {
        return {
          impossible: `The pool has ${capable} GPUs that can ever give this share, ${share.gpus} are asked for`,
        };
      }
      const available = partial.reduce((sum, server) => sum + server.available, 0);
      if (available < share.gpus) {
        return { wait: [`${available} of ${share.gpus} GPUs can give the share now`, ...failures].join("; ") };
      }
      return claimParts(partial, { owner, share, filters: rest }, signal);
    },
    async claimDevices(owner, devices, signal) {
      const { found, failures } = await findDevices(devices, signal);
      const missing = devices.filter(({ device }) => !found.has(device)).map(({ device }) => device);
      if (missing.length > 0) {
        const what = `No server has the GPU ${missing.join(", ")}`;
        return failures.length > 0 ? { wait: [what, ...failures].join("; ") } : { impossible: what };
      }
      const leases: ServerLease[] = [];
      for (const { device, units } of devices) {
        const { server, gpuId } = found.get(device) as { server: Server; gpuId: string };
        const claim = { owner, share: { gpus: 1, percent: units }, filters: [], gpuIds: [gpuId] };
        const answer = await claimFrom(server, claim, signal).catch(async (error) => {
          await releaseAll(leases);
          throw error;
        });
        if ("lease" in answer) leases.push(answer.lease);
        else {
          await releaseAll(leases);
          const reason = "failure" in answer ? answer.failure : `${units} % of it is not free`;
          return { wait: `The GPU ${gpuId} is ours, but ${reason}` };
        }
      }
      return { leases };
    },
    [Symbol.dispose]() {
      for (const { channel } of servers) channel[Symbol.dispose]();
    },
  };

  /** Where GPUs are, by their device's name. */
  async function findDevices(devices: readonly AllocatedDevice[], signal: AbortSignal) {
    const found = new Map<string, { server: Server; gpuId: string }>();
    const failures: string[] = [];
    for (const server of servers) {
      try {
        const { inventory } = await server.client.getInventory({}, { signal, timeoutMs: CALL_TIMEOUT });
        for (const { id } of inventory?.gpus ?? []) {
          const name = deviceName(id);
          if (devices.some(({ device }) => device === name) && !found.has(name)) found.set(name, { server, gpuId: id });
        }
      } catch (error) {
        signal.throwIfAborted();
        failures.push(`${server.address}: ${messageOf(error)}`);
      }
    }
    return { found, failures };
  }

  async function claimParts(
    partial: readonly { server: (typeof servers)[number]; available: number }[],
    claim: PoolClaim,
    signal: AbortSignal,
  ): Promise<PoolAnswer> {
    const leases: ServerLease[] = [];
    let missing = claim.share.gpus;
    try {
      for (const { server, available } of partial) {
        const gpus = Math.min(available, missing);
        if (gpus === 0) continue;
        const answer = await claimFrom(server, { ...claim, share: { ...claim.share, gpus } }, signal);
        if (!("lease" in answer)) break;
        leases.push(answer.lease);
        missing -= gpus;
      }
      if (missing === 0) return { leases };
    } catch (error) {
      await releaseAll(leases);
      throw error;
    }
    await releaseAll(leases);
    return { wait: "Another client was faster" };
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
