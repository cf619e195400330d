import { createClient } from "@connectrpc/connect";
import { connectTls } from "../grpc/client.ts";
import { addressAttributes } from "../pool/attributes.ts";
import { matchesFilter } from "../pool/filter.ts";
import { PoolService } from "../proto/gen/bitfusion/pool/v1/pool_pb.ts";
import type { TlsIdentity } from "../tls/key_pair.ts";
import type { PoolClaimResult } from "./claim_result.ts";
import { claimLease, type PoolClaim, releaseAll, type ServerLease } from "./server_lease.ts";

/**
 * A client of all servers of a pool, for one claim: a repeat of the claim gets the leases that it was granted already, if
 * they have not ended. Disposal closes the connections.
 */
export interface PoolClient extends Disposable {
  /** Claims all GPUs from one server if one has enough, otherwise from several: all or nothing. */
  claim(claim: PoolClaim, signal: AbortSignal): Promise<PoolClaimResult>;
}

/** Creates a client for servers at `addresses`, each host:port. It connects on first use. */
export function createPoolClient(addresses: readonly string[], tls: TlsIdentity): PoolClient {
  const servers = addresses.map((address) => {
    const channel = connectTls(address, tls);
    return {
      address,
      channel,
      client: createClient(PoolService, channel.transport),
      requestIds: new Map<string, string>(),
    };
  });

  return {
    async claim({ owner, share, filters }, signal) {
      const addressFilters = filters.filter(({ key }) => key === "server.addr");
      const matching = servers.filter(({ address }) =>
        addressFilters.every((filter) => matchesFilter(filter, addressAttributes(address))),
      );
      if (matching.length === 0) {
        return {
          impossible: `No server of the pool has the address ${addressFilters.map(({ value }) => value).join(" and ")}`,
        };
      }
      const serverFilters = filters.filter((filter) => !addressFilters.includes(filter));

      const failures: string[] = [];
      const candidates: { server: (typeof servers)[number]; available: number }[] = [];
      let capable = 0;
      for (const server of matching) {
        const result = await claimLease(server, { owner, share, filters: serverFilters }, signal);
        if ("lease" in result) return { leases: [result.lease] };
        if ("failure" in result) failures.push(result.failure);
        else {
          capable += result.capable;
          candidates.push({ server, available: result.available });
        }
      }
      if (capable < share.gpus && failures.length === 0) {
        return {
          impossible: `The pool can never satisfy the claim: ${capable} GPUs are suitable, ${share.gpus} are requested`,
        };
      }
      const available = candidates.reduce((sum, server) => sum + server.available, 0);
      if (available < share.gpus) {
        return { wait: [`${available} of ${share.gpus} requested GPUs are available`, ...failures].join("; ") };
      }
      const result = await claimFromSeveral(candidates, { owner, share, filters: serverFilters }, signal);
      return "wait" in result ? { wait: [result.wait, ...failures].join("; ") } : result;
    },
    [Symbol.dispose]() {
      for (const { channel } of servers) channel[Symbol.dispose]();
    },
  };

  /** Claims the available GPUs of several servers until there are enough. Releases everything if there are not. */
  async function claimFromSeveral(
    candidates: readonly { server: (typeof servers)[number]; available: number }[],
    claim: PoolClaim,
    signal: AbortSignal,
  ): Promise<PoolClaimResult> {
    const leases: ServerLease[] = [];
    let missing = claim.share.gpus;
    let reason = "";
    try {
      for (const { server, available } of candidates) {
        const gpus = Math.min(available, missing);
        if (gpus === 0) continue;
        const result = await claimLease(server, { ...claim, share: { ...claim.share, gpus } }, signal);
        if (!("lease" in result)) {
          reason = "failure" in result ? result.failure : `another client was faster on ${server.address}`;
          break;
        }
        leases.push(result.lease);
        missing -= gpus;
      }
      if (missing === 0) return { leases };
    } catch (error) {
      await releaseAll(leases);
      throw error;
    }
    await releaseAll(leases);
    return {
      wait: `Only ${leases.reduce((sum, { gpus }) => sum + gpus.length, 0)} of ${claim.share.gpus} requested GPUs could be claimed: ${reason}`,
    };
  }
}
