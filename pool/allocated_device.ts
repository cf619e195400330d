/** A GPU that the scheduler allocated to a container. */
export interface AllocatedDevice {
  /** Name of the device, as deviceName() derives it from the GPU id. */
  readonly device: string;
  /** Percent of the GPU, 1 to 100. */
  readonly units: number;
}

/** The environment variable in which the driver passes a container its GPUs. */
export const DEVICES_VARIABLE = "BITFUSION_DEVICES";

/** The expected form of {@link DEVICES_VARIABLE}, for error messages. */
export const EXPECTED_DEVICES = "expected device=units, several separated by commas";

/** Formats the value of {@link DEVICES_VARIABLE}: `gpu-1abc=50,gpu-2def=25`. */
export function formatDevices(devices: readonly AllocatedDevice[]): string {
  return devices.map(({ device, units }) => `${device}=${units}`).join(",");
}

/** Parses the output of {@link formatDevices}. Returns undefined for any other text. */
export function parseDevices(text: string): AllocatedDevice[] | undefined {
  const devices: AllocatedDevice[] = [];
  for (const entry of text.split(",")) {
    const [, device, units] = /^([a-z0-9-]+)=(\d{1,3})$/.exec(entry) ?? [];
    if (!device || !units) return undefined;
    devices.push({ device, units: Number(units) });
  }
  return devices;
}
