import type { LeaseOwner } from "../pool/lease.ts";
import { ConfigError } from "../program/config_error.ts";
import type { Environment } from "../program/environment.ts";
import { claimShare, type WaitOptions } from "./claim_share.ts";
import { runCommand } from "./command/command.ts";
import type { Init } from "./command/init.ts";
import { readConfiguration } from "./configuration.ts";
import { attachLeases } from "./container/attach.ts";
import type { Holding } from "./holding.ts";
import type { LeaseLostError } from "./renew.ts";
import type { PoolClaim } from "./server_lease.ts";

/** The signal is aborted with an InterruptedError to end the wait for the pool. A running command gets signals itself. */
export interface RunOptions extends Omit<PoolClaim, "owner">, WaitOptions {
  readonly command: readonly string[];
  readonly environment: Environment;
  /** If this is the first process of the container. */
  readonly init?: Init | undefined;
}

/**
 * Gets the share, runs the command while holding it, and gives it back. Returns the command's exit status, but 1
 * instead of 0 if the lease was lost.
 *
 * @throws {Error} when the pool does not satisfy the claim in time, or never can.
 * @throws {ConfigError} when the pool rejects the claim as invalid, or what the driver has given the container is invalid.
 * @throws {InterruptedError} when a signal ends the wait for the pool.
 */
export async function run(options: RunOptions): Promise<number> {
  const { command, environment, print, signal, init } = options;
  const holding = await getShare(options);
  const gpus = holding.gpus.map(({ gpuId, units }) => `${gpuId}=${units}`).join(",");
  print(`Holding ${gpus.replaceAll("=", " at ").replaceAll(",", " %, ")} %`);

  const ended = new AbortController();
  const lost = new AbortController();
  const keeping = holding.keep(ended.signal).catch((error) => {
    print((error as Error).message);
    lost.abort(error);
  });
  try {
    signal.throwIfAborted();
    const status = await runCommand(command, {
      environment: { ...environment, ...libraryPath(environment), ...gateAddress(holding), BITFUSION_GPUS: gpus },
      signal: lost.signal,
      init,
      endBy: () => (lost.signal.reason as LeaseLostError).endBy,
    });
    return lost.signal.aborted ? status || 1 : status;
  } finally {
    ended.abort();
    await keeping;
    for (const failure of await holding.release()) print(`Cannot release the lease, which will expire: ${failure}`);
  }
}

/**
 * Gets the share: by the leases that the driver holds for this container, or where the scheduler does not choose GPUs, by leases of its own.
 *
 * @throws {ConfigError} when the driver has not given as many GPUs as -n requests.
 */
async function getShare(options: RunOptions): Promise<Holding> {
  const { share, filters, environment } = options;
  if (environment.BITFUSION_ALLOCATION !== "claims") {
    return claimShare({ owner: ownerFrom(environment), share, filters }, await readConfiguration(environment), options);
  }
  const holding = await attachLeases(environment, options);
  if (holding.gpus.length === share.gpus) return holding;
  await holding.release();
  throw new ConfigError(`The driver has given this container ${holding.gpus.length} GPUs, but -n is ${share.gpus}`);
}

/**
 * LD_LIBRARY_PATH with the folders of BITFUSION_LIBRARY_PATH in front. Here its value is known, whether it comes from env, envFrom or the
 * image; the webhook sees only the first.
 */
function libraryPath({ BITFUSION_LIBRARY_PATH: folders, LD_LIBRARY_PATH: own }: Environment): Environment {
  if (!folders) return {};
  return { LD_LIBRARY_PATH: own ? `${folders}:${own}` : folders }; // an empty path would mean the working directory
}

/** Where the command reaches its GPUs: several addresses, separated by commas, if they are on several servers. */
function gateAddress({ gateAddresses }: Holding): Environment {
  return gateAddresses.length > 0 ? { BITFUSION_GATE_ADDRESS: gateAddresses.join(",") } : {};
}

/** The container that the webhook's variables name, or the host. */
function ownerFrom(environment: Environment): LeaseOwner {
  return {
    namespace: environment.BITFUSION_NAMESPACE ?? "",
    pod: environment.BITFUSION_POD ?? environment.HOSTNAME ?? "",
    container: environment.BITFUSION_CONTAINER ?? "",
  };
}
