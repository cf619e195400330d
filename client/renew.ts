import { setTimeout as sleep } from "node:timers/promises";
import { messageOf } from "../program/log/log.ts";
import { clampTimeout } from "../program/timers.ts";
import { readTimeToLive, type ServerLease } from "./server_lease.ts";

/** Thrown when a lease is lost. */
export class LeaseLostError extends Error {
  override name = "LeaseLostError";
  /** The performance.now() by which everything that uses the lease must have ended. */
  readonly endBy: number;

  constructor(message: string, endBy: number) {
    super(message);
    this.endBy = endBy;
  }
}

/** Longest time between SIGTERM and SIGKILL when a lease is lost, in ms. */
const MAX_GRACE = 10_000;

/**
 * The schedule of a lease, as values of performance.now(). It counts from when the last successful request was sent: the
 * server counts from later, so everything here happens before the server gives the GPUs to somebody else.
 */
export function scheduleOf({ sentAt, timeToLive }: Pick<ServerLease, "sentAt" | "timeToLive">) {
  // For different speeds of the two clocks, and for the time that the end of a process takes.
  const endBy = sentAt + (timeToLive * 15) / 16;
  const grace = Math.min(MAX_GRACE, (timeToLive * 3) / 16);
  return {
    /** When to renew the lease. */
    renewAt: sentAt + timeToLive / 4,
    /** When the lease is lost if it was not renewed. */
    lostAt: endBy - grace,
    /** When everything that uses the lease must have ended. */
    endBy,
    grace,
    /** Longest wait for the server's response, in ms. */
    callTimeout: timeToLive / 4,
    /** Time between a failed renewal and the next attempt, in ms. */
    retryAfter: timeToLive / 32,
  };
}

/**
 * Renews a lease until the signal is aborted.
 *
 * @throws {LeaseLostError} when the server has ended the lease, and early enough before it will.
 */
export async function keepRenewed(
  { address, client, id, secret, ...lease }: ServerLease,
  signal: AbortSignal,
): Promise<void> {
  let { sentAt, timeToLive } = lease;
  let { renewAt } = scheduleOf(lease);
  for (;;) {
    await sleep(clampTimeout(renewAt - performance.now()), undefined, { signal }).catch(() => {}); // rejects only when aborted
    if (signal.aborted) return;
    const now = performance.now();
    const { lostAt, endBy, grace, callTimeout, retryAfter } = scheduleOf({ sentAt, timeToLive });
    if (now >= lostAt) throw lost("it was not renewed in time", endBy);
    try {
      const timeoutMs = clampTimeout(Math.ceil(Math.min(callTimeout, lostAt - now)));
      const { renewals } = await client.renewLeases({ leases: [{ leaseId: id, secret }] }, { signal, timeoutMs });
      const renewed = renewals[0]?.timeToLive;
      if (!renewed) throw lost("it has ended", Math.min(performance.now() + grace, endBy));
      timeToLive = readTimeToLive(renewed);
      sentAt = now;
      ({ renewAt } = scheduleOf({ sentAt, timeToLive }));
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof LeaseLostError) throw error;
      const failedAt = performance.now();
      const canRetry = failedAt + 2 * retryAfter < lostAt;
      if (!canRetry) throw lost(messageOf(error), Math.min(failedAt + grace, endBy));
      renewAt = failedAt + retryAfter;
    }
  }

  function lost(reason: string, endBy: number): LeaseLostError {
    return new LeaseLostError(`The lease on ${address} is lost: ${reason}`, endBy);
  }
}
