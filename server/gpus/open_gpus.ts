import type { Logger } from "../../program/log/log.ts";
import type { GpusConfiguration } from "./configuration.ts";
import type { GpuSource } from "./gpu_source.ts";
import { openNvidiaGpus } from "./nvidia/nvidia_source.ts";
import { READ_GPUS } from "./nvidia/reader.ts";
import { simulatedGpus } from "./simulated.ts";

export interface OpenGpusOptions {
  /** What the ids of simulated GPUs begin with. */
  idPrefix: string;
  /** The command of this program, without arguments. */
  program: readonly string[];
  log: Logger;
}

/** Opens the GPUs of the configuration. @throws {ConfigError} if there are none. */
export async function openGpus(
  configuration: GpusConfiguration,
  { idPrefix, program, log }: OpenGpusOptions,
): Promise<GpuSource> {
  if ("nvidia" in configuration) {
    return openNvidiaGpus({ reader: [...program, READ_GPUS, configuration.nvidia.library], log });
  }
  const { cudaVersion, driverVersion } = configuration.simulated;
  const gpus = simulatedGpus(configuration.simulated, idPrefix);
  return {
    facts: { cudaVersion, driverVersion },
    gpus,
    onChange: (listener) => listener(gpus),
    onProcesses() {},
    async [Symbol.asyncDispose]() {},
  };
}
