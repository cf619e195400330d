import { createHash } from "node:crypto";

/** Length of {@link shortName}: short enough for 100,000 device ids in one message, long enough for 10,000 GPUs without a collision. */
export const SHORT_NAME_LENGTH = 8;

/** A short name for a GPU id, in base 36. It depends on the id alone, so it is stable across restarts. */
export function shortName(gpuId: string): string {
  const hash = createHash("sha256").update(gpuId).digest().readBigUInt64BE();
  return hash.toString(36).padStart(13, "0").slice(-SHORT_NAME_LENGTH);
}

/** The name of a GPU's device in ResourceSlices and allocations: a DNS label that depends on the GPU id alone. */
export function deviceName(gpuId: string): string {
  return `gpu-${shortName(gpuId)}`;
}
