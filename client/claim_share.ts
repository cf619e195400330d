import { Code, ConnectError } from "@connectrpc/connect";
import { createBackoff } from "../program/backoff.ts";
import { ConfigError } from "../program/config_error.ts";
import { clampTimeout } from "../program/timers.ts";
import type { PoolClaimResult } from "./claim_result.ts";
import type { ClientConfiguration } from "./configuration.ts";
import type { Holding } from "./holding.ts";
import { createPoolClient } from "./pool.ts";
import { keepRenewed } from "./renew.ts";
import { type PoolClaim, releaseAll, type ServerLease } from "./server_lease.ts";

export interface WaitOptions {
  /** Maximum time to wait for the pool, in ms. */
  readonly timeout: number;
  /** Prints a message to the user. */
  readonly print: (message: string) => void;
  /** Ends the wait with its reason. */
  readonly signal: AbortSignal;
}

/**
 * Takes leases on a share of the pool, which the client itself renews and releases.
 *
 * @throws {Error} when the pool does not satisfy the claim in time, or never can.
 * @throws {ConfigError} when the pool rejects the claim as invalid.
 */
export async function claimShare(
  claim: PoolClaim,
  { servers, tls }: ClientConfiguration,
  options: WaitOptions,
): Promise<Holding> {
  const pool = createPoolClient(servers, tls);
  try {
    const leases = await claimWithin(() => pool.claim(claim, options.signal), options);
    return {
      gpus: leases.flatMap(({ gpus }) => gpus),
      gateAddresses: [], // such leases are for simulated pools
      async keep(signal) {
        await Promise.all(leases.map((lease) => keepRenewed(lease, signal)));
      },
      async release() {
        const failures = await releaseAll(leases);
        pool[Symbol.dispose]();
        return failures;
      },
    };
  } catch (error) {
    pool[Symbol.dispose]();
    throw error;
  }
}

/** Repeats the claim until the pool satisfies it or the time is over. */
async function claimWithin(
  claim: () => Promise<PoolClaimResult>,
  { timeout, print, signal }: WaitOptions,
): Promise<readonly ServerLease[]> {
  const deadline = performance.now() + timeout;
  const untilDeadline = AbortSignal.any([signal, AbortSignal.timeout(clampTimeout(timeout))]);
  const backoff = createBackoff({ initial: 250, max: 5000 });
  let printed: string | undefined;
  for (;;) {
    const result = await claim().catch((error) => {
      if (ConnectError.from(error).code !== Code.InvalidArgument) throw error;
      throw new ConfigError(`The pool rejects the claim: ${ConnectError.from(error).rawMessage}`);
    });
    if ("leases" in result) return result.leases;
    if ("impossible" in result) throw new Error(result.impossible);
    if (performance.now() >= deadline) throw new Error(`Waited ${timeout / 1000} s for the pool: ${result.wait}`);
    if (result.wait !== printed) print(`Waiting for the pool: ${result.wait}`);
    printed = result.wait;
    await backoff.wait(untilDeadline).catch(() => signal.throwIfAborted());
  }
}
