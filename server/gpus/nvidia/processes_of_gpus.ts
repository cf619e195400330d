import type { GpuProcesses } from "../gpu_source.ts";
import type { NvmlDevice, NvmlProcess } from "./answers.ts";

/** The processes of the GPUs and MIG devices that answer. */
export function gpuProcesses(devices: readonly NvmlDevice[]): readonly GpuProcesses[] {
  return devices.flatMap(({ identity, status, processes, migDevices }) => {
    if (!identity || status !== 0) return [];
    return (migDevices ?? [{ uuid: identity.uuid, processes }]).map(({ uuid, processes }) => ({
      gpuId: uuid,
      processes: processes?.map(inMb),
    }));
  });
}

function inMb({ memory, ...process }: NvmlProcess) {
  return { ...process, memoryMb: Math.round(memory / 1e6) };
}
