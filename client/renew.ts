import { setTimeout as sleep } from "node:timers/promises";
import { Code, ConnectError } from "@connectrpc/connect";
import { messageOf } from "../program/log/log.ts";
import type { ServerLease } from "./server_claim.ts";

/**
 * Keeps a lease alive until the signal is aborted. Throws when it is lost: the server has ended it, or has not answered for
 * its whole life.
 */
export async function keepAlive({ address, client, id, timeToLive }: ServerLease, signal: AbortSignal): Promise<void> {
  const period = timeToLive / 4;
  let renewed = performance.now();
  while (!signal.aborted) {
    await sleep(period, undefined, { signal }).catch(() => {}); // only the signal ends it early
    if (signal.aborted) return;
    try {
      await client.renew({ leaseId: id }, { signal, timeoutMs: period });
      renewed = performance.now();
    } catch (error) {
      if (signal.aborted) return;
      const ended = ConnectError.from(error).code === Code.NotFound;
      if (ended || performance.now() - renewed > timeToLive) {
        throw new Error(`The lease on ${address} is lost: ${messageOf(error)}`);
      }
    }
  }
}
