import { createHash } from "node:crypto";

/**
 * Length of {@link shortName}. It allows 100,000 device ids in one gRPC message, and 10,000 GPUs without a collision.
 */
export const SHORT_NAME_LENGTH = 8;

/** Returns a short name for a GPU id, in base 36. It depends only on the id, so it survives restarts. */
export function shortName(gpuId: string): string {
  const hash = createHash("sha256").update(gpuId).digest().readBigUInt64BE();
  return hash.toString(36).padStart(13, "0").slice(-SHORT_NAME_LENGTH);
}

/**
 * Returns the name of a GPU's device in ResourceSlices and allocations. It is a DNS label and depends only on the GPU
 * id.
 */
export function deviceName(gpuId: string): string {
  return `gpu-${shortName(gpuId)}`;
}
