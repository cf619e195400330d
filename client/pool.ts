import { createClient } from "@connectrpc/connect";
import { connectTcp } from "../grpc/client.ts";
import type { AllocatedDevice } from "../pool/allocated_device.ts";
import { addressAttributes } from "../pool/attributes.ts";
import { matchesFilter } from "../pool/filter.ts";
import type { Owner } from "../pool/lease.ts";
import { PoolService } from "../proto/gen/bitfusion/pool/v1/pool_pb.ts";
import { claimDevices } from "./claim_devices.ts";
import type { PoolClaimResult } from "./claim_result.ts";
import { claimFrom, type PoolClaim, releaseAll, type ServerLease } from "./server_claim.ts";

/** The servers of a pool, to claim from. Disposal closes the connections. */
export interface PoolClient extends Disposable {
  claim(claim: PoolClaim, signal: AbortSignal): Promise<PoolClaimResult>;
  /** Exactly these GPUs, wherever they are; everything or nothing. */
  claimDevices(owner: Owner, devices: readonly AllocatedDevice[], signal: AbortSignal): Promise<PoolClaimResult>;
}

export function createPoolClient(addresses: readonly string[]): PoolClient {
  const servers = addresses.map((address) => {
    const channel = connectTcp(address);
    return { address, channel, client: createClient(PoolService, channel.transport) };
  });

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
    claimDevices: (owner, devices, signal) => claimDevices(servers, { owner, devices }, signal),
    [Symbol.dispose]() {
      for (const { channel } of servers) channel[Symbol.dispose]();
    },
  };

  async function claimParts(
    partial: readonly { server: (typeof servers)[number]; available: number }[],
    claim: PoolClaim,
    signal: AbortSignal,
  ): Promise<PoolClaimResult> {
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
