import { setTimeout as sleep } from "node:timers/promises";
import { Code, ConnectError } from "@connectrpc/connect";
import { messageOf } from "../program/log/log.ts";
import type { ServerLease } from "./server_lease.ts";

/**
 * Renews a lease until the signal is aborted.
 *
 * @throws {Error} when the lease is lost: the server has ended it, or no renewal has succeeded for its time to live.
 */
export async function keepRenewed(
  { address, client, id, timeToLive }: ServerLease,
  signal: AbortSignal,
): Promise<void> {
  const period = timeToLive / 4;
  let renewedAt = performance.now();
  while (!signal.aborted) {
    await sleep(period, undefined, { signal }).catch(() => {}); // rejects only when aborted
    if (signal.aborted) return;
    try {
      await client.renew({ leaseId: id }, { signal, timeoutMs: period });
      renewedAt = performance.now();
    } catch (error) {
      if (signal.aborted) return;
      const ended = ConnectError.from(error).code === Code.NotFound;
      if (ended || performance.now() - renewedAt > timeToLive) {
        throw new Error(`The lease on ${address} is lost: ${messageOf(error)}`);
      }
    }
  }
}
