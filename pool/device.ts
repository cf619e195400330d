import { createHash } from "node:crypto";

/** Name of the driver that the pool's GPUs have in Kubernetes (resource.k8s.io), and the domain of their attributes. */
export const DRIVER = "bitfusion.io";

/** The DeviceClass of all of them. */
export const DEVICE_CLASS = "bitfusion.io";

/** Length of {@link shortName}: short enough for 100,000 ids in one message, long enough not to collide among 10,000 GPUs. */
export const SHORT_NAME_LENGTH = 8;

/** A GPU's name where its id is too long or has letters that may not be there: in base 36, the same after any restart of anything. */
export function shortName(gpuId: string): string {
  const hash = createHash("sha256").update(gpuId).digest().readBigUInt64BE();
  return hash.toString(36).padStart(13, "0").slice(-SHORT_NAME_LENGTH);
}

/** What the scheduler calls a GPU: a DNS label, from which everyone who knows the GPU's id can tell that it is meant. */
export function deviceName(gpuId: string): string {
  return `gpu-${shortName(gpuId)}`;
}
