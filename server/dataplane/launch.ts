import type { GpuShare } from "../../pool/lease.ts";
import { memoryOfUnits } from "../../pool/units.ts";
import type { ServerGpu } from "../gpus/gpu.ts";
import type { DataPlaneConfiguration } from "./configuration.ts";
import { limit } from "./limiter.ts";
import { fillIn, type PlaceholderValues } from "./placeholders.ts";
import type { Launch } from "./sandbox/launch.ts";

/**
 * Returns the process of a lease.
 *
 * @throws {Error} if the server does not have one of the lease's GPUs any more.
 */
export function launchFor(
  { command, environment, limiter }: Pick<DataPlaneConfiguration, "command" | "environment" | "limiter">,
  lease: { readonly gpus: readonly GpuShare[] },
  gpus: readonly ServerGpu[],
  place: Pick<PlaceholderValues, "port" | "leaseFolder">,
): Launch {
  const shares = lease.gpus.map(({ gpuId, units }) => {
    const gpu = gpus.find(({ id }) => id === gpuId);
    if (!gpu) throw new Error(`The server does not have GPU "${gpuId}" any more`);
    return { gpu, units };
  });
  const values: PlaceholderValues = {
    ...place,
    gpuUuids: shares.map(({ gpu }) => gpu.id),
    gpuIndexes: shares.map(({ gpu }) => gpu.number),
    percent: Math.min(...shares.map(({ units }) => units)),
    memoryMb: Math.min(...shares.map(({ gpu, units }) => memoryOfUnits(units, gpu.memoryMb))),
  };
  const launch = {
    command: command.map((part) => fillIn(part, values)),
    environment: Object.fromEntries(Object.entries(environment).map(([name, value]) => [name, fillIn(value, values)])),
  };
  return limiter ? limit(launch, limiter, shares, place.leaseFolder) : launch;
}
