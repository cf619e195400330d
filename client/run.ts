import { Code, ConnectError } from "@connectrpc/connect";
import type { AllocatedDevice } from "../pool/allocated_device.ts";
import type { Owner } from "../pool/lease.ts";
import type { Share } from "../pool/share.ts";
import { createBackoff } from "../program/backoff.ts";
import { ConfigError } from "../program/config_error.ts";
import type { Environment } from "../program/environment.ts";
import { readAllocation } from "./allocation.ts";
import type { PoolClaimResult } from "./claim_result.ts";
import { runCommand } from "./command.ts";
import { createPoolClient } from "./pool.ts";
import { keepAlive } from "./renew.ts";
import { type PoolClaim, releaseAll, type ServerLease } from "./server_claim.ts";

/** A signal ended the wait for the pool. */
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
  /** Longest wait while the pool is full, in ms. */
  readonly timeout: number;
  readonly environment: Environment;
  /** Tells the user what happens. */
  readonly say: (sentence: string) => void;
  /** Aborted, with an {@link InterruptedError}, when the user gives up waiting; a command that runs gets signals itself. */
  readonly signal: AbortSignal;
}

/**
 * Claims the share, runs the command while it is held, and gives it back. Returns the command's exit status.
 *
 * @throws {Error} when the pool cannot give the share: in time, or ever.
 * @throws {InterruptedError} when the wait for the pool is interrupted.
 */
export async function run({
  command,
  servers,
  timeout,
  environment,
  say,
  signal,
  ...rest
}: RunOptions): Promise<number> {
  using pool = createPoolClient(servers);
  const owner = ownerFrom(environment);
  const devices = readAllocation(environment);
  if (devices) checkCount(devices, rest.share);
  const claim = () => (devices ? pool.claimDevices(owner, devices, signal) : pool.claim({ ...rest, owner }, signal));
  const leases = await claimWithin(timeout, { claim, say, signal });
  const gpus = leases.flatMap((lease) => lease.gpus.map(({ gpuId, units }) => `${gpuId}=${units}`)).join(",");
  say(`Holding ${gpus.replaceAll("=", " at ").replaceAll(",", " %, ")} %`);

  const over = new AbortController();
  const lost = new AbortController();
  const holding = Promise.all(leases.map((lease) => keepAlive(lease, over.signal))).catch((error) => {
    say((error as Error).message);
    lost.abort(error);
  });
  try {
    signal.throwIfAborted();
    const status = await runCommand(command, {
      environment: { ...environment, BITFUSION_GPUS: gpus },
      signal: lost.signal,
    });
    return lost.signal.aborted ? status || 1 : status;
  } finally {
    over.abort();
    await holding;
    for (const failure of await releaseAll(leases)) say(`Cannot release the lease, it will expire: ${failure}`);
  }
}

interface ClaimContext {
  claim: () => Promise<PoolClaimResult>;
  say: (sentence: string) => void;
  signal: AbortSignal;
}

async function claimWithin(timeout: number, { claim, say, signal }: ClaimContext): Promise<readonly ServerLease[]> {
  const deadline = performance.now() + timeout;
  const backoff = createBackoff({ initial: 250, max: 5000 });
  let said: string | undefined;
  for (;;) {
    const answer = await claim().catch((error) => {
      if (ConnectError.from(error).code !== Code.InvalidArgument) throw error;
      throw new ConfigError(`The pool refuses the claim: ${ConnectError.from(error).rawMessage}`);
    });
    if ("leases" in answer) return answer.leases;
    if ("impossible" in answer) throw new Error(answer.impossible);
    if (performance.now() >= deadline) throw new Error(`Waited ${timeout / 1000} s for the pool: ${answer.wait}`);
    if (answer.wait !== said) say(`Waiting for the pool: ${answer.wait}`);
    said = answer.wait;
    const untilDeadline = AbortSignal.timeout(Math.max(0, deadline - performance.now()));
    await backoff.wait(AbortSignal.any([signal, untilDeadline])).catch(() => signal.throwIfAborted());
  }
}

/** The scheduler's choice is that of the share which the pod asked for. @throws {ConfigError} */
function checkCount(devices: readonly AllocatedDevice[], { gpus }: Share): void {
  if (devices.length === gpus) return;
  throw new ConfigError(`BITFUSION_DEVICES names ${devices.length} GPUs, but -n is ${gpus}`);
}

/** The container that the webhook says this is, or else the host. */
function ownerFrom(environment: Environment): Owner {
  return {
    namespace: environment.BITFUSION_NAMESPACE ?? "",
    pod: environment.BITFUSION_POD ?? environment.HOSTNAME ?? "",
    container: environment.BITFUSION_CONTAINER ?? "",
  };
}
