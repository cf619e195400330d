import { type AllocatedDevice, DEVICES_VARIABLE, EXPECTED_DEVICES, parseDevices } from "../pool/allocated_device.ts";
import { ConfigError } from "../program/config_error.ts";
import type { Environment } from "../program/environment.ts";

/**
 * The GPUs that the scheduler has chosen for this container. Undefined if the scheduler does not choose.
 *
 * @throws {ConfigError} if the webhook says that it chooses, but the driver does not say which: any other GPU would be somebody else's.
 */
export function readAllocation(environment: Environment): AllocatedDevice[] | undefined {
  if (environment.BITFUSION_ALLOCATION !== "claims") return undefined;
  const value = environment[DEVICES_VARIABLE];
  if (!value) throw new ConfigError(`${DEVICES_VARIABLE} is not set: the driver has told this container no GPUs`);
  const devices = parseDevices(value);
  if (!devices) throw new ConfigError(`Cannot use ${DEVICES_VARIABLE}="${value}": ${EXPECTED_DEVICES}`);
  return devices;
}
