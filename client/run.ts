import { Code, ConnectError } from "@connectrpc/connect";
import type { AllocatedDevice } from "../pool/allocated_device.ts";
import type { LeaseOwner } from "../pool/lease.ts";
import type { Share } from "../pool/share.ts";
import { createBackoff } from "../program/backoff.ts";
import { ConfigError } from "../program/config_error.ts";
import type { Environment } from "../program/environment.ts";
import { clampTimeout } from "../program/timers.ts";
import type { TlsIdentity } from "../tls/key_pair.ts";
import { readAllocation } from "./allocation.ts";
import type { PoolClaimResult } from "./claim_result.ts";
import { runCommand } from "./command/command.ts";
import type { Init } from "./command/init.ts";
import { createPoolClient } from "./pool.ts";
import { keepRenewed, type LeaseLostError } from "./renew.ts";
import { type PoolClaim, releaseAll, type ServerLease } from "./server_lease.ts";

/** Thrown when a signal ends the wait for the pool. */
export class InterruptedError extends Error {
  override name = "InterruptedError";
  readonly signal: NodeJS.Signals;

  constructor(signal: NodeJS.Signals) {
    super(`Gave up waiting for the pool: ${signal}`);
    this.signal = signal;
  }
}

export interface RunOptions extends Omit<PoolClaim, "owner"> {
  readonly command: readonly string[];
  /** host:port of each server. */
  readonly servers: readonly string[];
  /** The client's identity. */
  readonly tls: TlsIdentity;
  /** Maximum time to wait for the pool, in ms. */
  readonly timeout: number;
  readonly environment: Environment;
  /** Prints a message to the user. */
  readonly print: (message: string) => void;
  /** Aborted with an {@link InterruptedError} to end the wait for the pool. A running command gets signals itself. */
  readonly signal: AbortSignal;
  /** If this is the first process of the container. */
  readonly init?: Init | undefined;
}

/**
 * Claims the share, runs the command while holding it, and releases it. Returns the command's exit status, but 1
 * instead of 0 if the lease was lost.
 *
 * @throws {Error} when the pool does not satisfy the claim in time, or never can.
 * @throws {ConfigError} when the pool rejects the claim as invalid, or the scheduler's allocation is invalid.
 * @throws {InterruptedError} when a signal ends the wait for the pool.
 */
export async function run({
  command,
  servers,
  tls,
  timeout,
  environment,
  print,
  signal,
  init,
  ...rest
}: RunOptions): Promise<number> {
  using pool = createPoolClient(servers, tls);
  const owner = ownerFrom(environment);
  const devices = readAllocation(environment);
  if (devices) checkCount(devices, rest.share);
  const claim = () => (devices ? pool.claimDevices(owner, devices, signal) : pool.claim({ ...rest, owner }, signal));
  const leases = await claimWithin(timeout, { claim, print, signal });
  const gpus = leases.flatMap((lease) => lease.gpus.map(({ gpuId, units }) => `${gpuId}=${units}`)).join(",");
  print(`Holding ${gpus.replaceAll("=", " at ").replaceAll(",", " %, ")} %`);

  const ended = new AbortController();
  const lost = new AbortController();
  const renewals = Promise.all(leases.map((lease) => keepRenewed(lease, ended.signal))).catch((error) => {
    print((error as Error).message);
    lost.abort(error);
  });
  try {
    signal.throwIfAborted();
    const status = await runCommand(command, {
      environment: { ...environment, ...libraryPath(environment), BITFUSION_GPUS: gpus },
      signal: lost.signal,
      init,
      endBy: () => (lost.signal.reason as LeaseLostError).endBy,
    });
    return lost.signal.aborted ? status || 1 : status;
  } finally {
    ended.abort();
    await renewals;
    for (const failure of await releaseAll(leases)) print(`Cannot release the lease, which will expire: ${failure}`);
  }
}

interface ClaimContext {
  claim: () => Promise<PoolClaimResult>;
  print: (message: string) => void;
  signal: AbortSignal;
}

/** Repeats the claim until the pool satisfies it or `timeout` ms have passed. */
async function claimWithin(timeout: number, { claim, print, signal }: ClaimContext): Promise<readonly ServerLease[]> {
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

/** Checks that the scheduler has chosen as many GPUs as -n requests. @throws {ConfigError} when the numbers differ. */
function checkCount(devices: readonly AllocatedDevice[], { gpus }: Share): void {
  if (devices.length === gpus) return;
  throw new ConfigError(`BITFUSION_DEVICES names ${devices.length} GPUs, but -n is ${gpus}`);
}

/**
 * LD_LIBRARY_PATH with the folders of BITFUSION_LIBRARY_PATH in front. Here its value is known, whether it comes from env, envFrom or the
 * image; the webhook sees only the first.
 */
function libraryPath({ BITFUSION_LIBRARY_PATH: folders, LD_LIBRARY_PATH: own }: Environment): Environment {
  if (!folders) return {};
  return { LD_LIBRARY_PATH: own ? `${folders}:${own}` : folders }; // an empty path would mean the working directory
}

/** The container that the webhook's variables name, or the host. */
function ownerFrom(environment: Environment): LeaseOwner {
  return {
    namespace: environment.BITFUSION_NAMESPACE ?? "",
    pod: environment.BITFUSION_POD ?? environment.HOSTNAME ?? "",
    container: environment.BITFUSION_CONTAINER ?? "",
  };
}
