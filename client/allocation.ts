import { ConfigError } from "../program/config_error.ts";
import type { Environment } from "../program/environment.ts";

/** A GPU that the scheduler has chosen for this container. */
export interface AllocatedDevice {
  /** As deviceName() makes it of the GPU's id. */
  readonly device: string;
  /** Percent of the GPU. */
  readonly units: number;
}

const EXPECTED = "expected device=units, several separated by commas";

/**
 * The GPUs that the node's driver tells the container, or undefined where nobody has chosen for it.
 *
 * @throws {ConfigError} when the webhook says that they are chosen and the driver does not say which: taking any would be another's.
 */
export function readAllocation(environment: Environment): AllocatedDevice[] | undefined {
  if (environment.BITFUSION_ALLOCATION !== "claims") return undefined;
  const value = environment.BITFUSION_DEVICES;
  if (!value) throw new ConfigError(`BITFUSION_DEVICES is not set: the node's driver has told this container no GPUs`);
  return value.split(",").map((part) => {
    const [, device, units] = /^([a-z0-9-]+)=(\d{1,3})$/.exec(part) ?? [];
    if (!device || !units) throw new ConfigError(`Cannot use BITFUSION_DEVICES="${value}": ${EXPECTED}`);
    return { device, units: Number(units) };
  });
}
