import { type AllocatedDevice, DEVICES_VARIABLE, EXPECTED_DEVICES, parseDevices } from "../pool/allocated_device.ts";
import { ConfigError } from "../program/config_error.ts";
import type { Environment } from "../program/environment.ts";

/**
 * Returns the GPUs that the scheduler has chosen for this container. Undefined if the scheduler does not choose.
 *
 * @throws {ConfigError} when BITFUSION_ALLOCATION is "claims" but the driver has not set valid devices: any other GPU
 * may belong to another container.
 */
export function readAllocation(environment: Environment): AllocatedDevice[] | undefined {
  if (environment.BITFUSION_ALLOCATION !== "claims") return undefined;
  const value = environment[DEVICES_VARIABLE];
  if (!value)
    throw new ConfigError(`${DEVICES_VARIABLE} is not set: the driver has assigned no GPUs to this container`);
  const devices = parseDevices(value);
  if (!devices) throw new ConfigError(`Cannot use ${DEVICES_VARIABLE}="${value}": ${EXPECTED_DEVICES}`);
  return devices;
}
