import type { SimulatedGpus } from "./configuration.ts";
import type { ServerGpu } from "./gpu.ts";

/** Simulated GPUs: healthy, without any hardware. Their ids, which begin with `idPrefix`, are the same after a restart of the server. */
export function simulatedGpus(
  { count, memory, model }: Pick<SimulatedGpus, "count" | "memory" | "model">,
  idPrefix: string,
): readonly ServerGpu[] {
  return Array.from({ length: count }, (_, index) => ({
    number: index,
    id: `${idPrefix}/${index}`,
    model,
    memoryMb: memory,
    healthy: true,
  }));
}
