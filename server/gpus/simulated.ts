import type { ServerGpu } from "./gpu.ts";

/**
 * Simulated GPUs: healthy, without any hardware. Their ids are the same after a restart of the server.
 *
 * @param memoryMb of each GPU.
 */
export function simulatedGpus({
  count,
  memoryMb,
  idPrefix,
}: {
  readonly count: number;
  readonly memoryMb: number;
  readonly idPrefix: string;
}): readonly ServerGpu[] {
  return Array.from({ length: count }, (_, index) => ({
    number: index,
    id: `${idPrefix}/${index}`,
    model: "Simulated GPU",
    memoryMb,
    healthy: true,
  }));
}
