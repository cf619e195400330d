import { createHash } from "node:crypto";
import { splitAddress } from "./address.ts";
import type { Gpu, PoolServer } from "./inventory.ts";

/** Name of the driver that the pool's GPUs have in Kubernetes (resource.k8s.io), and the domain of their attributes. */
export const DRIVER = "bitfusion.io";

/** The DeviceClass of all of them. */
export const DEVICE_CLASS = "bitfusion.io";

/** Annotations of a claim, which tell in the pod's own words what its selectors and requests mean. */
export const CLAIM_ANNOTATIONS = {
  /** As shareText() has it. */
  share: "bitfusion.io/share",
  /** As the pod has it. */
  filter: "bitfusion-client/filter",
} as const;

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

/** What GPUs can be chosen by, in Kubernetes as attributes of a device, and by the filters of a pod. */
export interface DeviceAttributes {
  readonly id?: string;
  readonly model?: string;
  readonly memoryMb?: number;
  /** host:port. */
  readonly server?: string;
  /** Host of `server`. */
  readonly host?: string;
  readonly hostname?: string;
  readonly hasRdma?: boolean;
  readonly cudaVersion?: string;
  readonly driverVersion?: string;
}

/** What is known of a GPU and the server that has it. */
export function attributesOf({ address, facts }: Partial<PoolServer>, gpu: Gpu): DeviceAttributes {
  const { id, model, memoryMb } = gpu;
  const { hostname = "", hasRdma, cudaVersion = "", driverVersion = "" } = facts ?? {};
  return {
    id: attributeText(id),
    model: attributeText(model),
    memoryMb,
    ...(address === undefined ? {} : addressAttributes(address)),
    hostname: attributeText(hostname),
    ...(hasRdma === undefined ? {} : { hasRdma }),
    cudaVersion: attributeText(cudaVersion),
    driverVersion: attributeText(driverVersion),
  };
}

/** The attributes that tell where a server is reached. */
export function addressAttributes(address: string): Required<Pick<DeviceAttributes, "server" | "host">> {
  return { server: attributeText(address), host: attributeText(splitAddress(address).host) };
}

/** The longest string that an attribute may have (DeviceAttributeMaxValueLength, k8s.io/api/resource/v1), in bytes. */
const LONGEST_TEXT = 64;

/** A text as an attribute has it: one that is too long for Kubernetes becomes its SHA-256, so that it can still be asked for. */
export function attributeText(text: string): string {
  if (Buffer.byteLength(text) <= LONGEST_TEXT) return text;
  return createHash("sha256").update(text).digest("hex");
}
