import { createHash } from "node:crypto";
import type { Device } from "../kubernetes/objects/resource_slice.ts";
import { splitAddress } from "./address.ts";
import type { Gpu, Inventory, PoolServer } from "./inventory.ts";

/** The attributes of a device in Kubernetes. Filters select GPUs by them. */
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
  /** Name and build of the server's data plane. */
  readonly dataPlane?: string;
  readonly dataPlaneBuild?: string;
  readonly isolation?: string;
}

/** Returns the attributes of a GPU and its server. */
export function attributesOf({ address, facts }: Partial<PoolServer>, gpu: Gpu): DeviceAttributes {
  const { id, model, memoryMb, isolation } = gpu;
  const { hostname = "", hasRdma, cudaVersion = "", driverVersion = "", dataPlane } = facts ?? {};
  return {
    id: attributeText(id),
    model: attributeText(model),
    memoryMb,
    ...(address === undefined ? {} : addressAttributes(address)),
    hostname: attributeText(hostname),
    ...(hasRdma === undefined ? {} : { hasRdma }),
    cudaVersion: attributeText(cudaVersion),
    driverVersion: attributeText(driverVersion),
    ...(dataPlane ? { dataPlane: attributeText(dataPlane.name), dataPlaneBuild: attributeText(dataPlane.build) } : {}),
    ...(isolation === undefined ? {} : { isolation: attributeText(isolation) }),
  };
}

/**
 * Returns the attributes of all GPUs of the pool. Unreachable and unhealthy ones count, since they can come back. Undefined while a server
 * has not reported its GPUs.
 */
export function attributesOfPool({ servers }: Inventory): readonly DeviceAttributes[] | undefined {
  const attributes: DeviceAttributes[] = [];
  for (const server of servers) {
    if (!server.gpus) return undefined;
    for (const gpu of server.gpus) attributes.push(attributesOf(server, gpu));
  }
  return attributes;
}

/** Returns the attributes of a published device. */
export function attributesOfDevice({ attributes = {} }: Device): DeviceAttributes {
  return Object.fromEntries(Object.entries(attributes).map(([name, value]) => [name, Object.values(value)[0]]));
}

/** Returns the attributes for the address of a server. */
export function addressAttributes(address: string): Required<Pick<DeviceAttributes, "server" | "host">> {
  return { server: attributeText(address), host: attributeText(splitAddress(address).host) };
}

/** Longest string attribute, in bytes (DeviceAttributeMaxValueLength, k8s.io/api/resource/v1). */
const MAX_LENGTH = 64;

/**
 * Returns the attribute value for a text. A text of more than 64 bytes becomes its SHA-256, in hex, so that filters can
 * still match it.
 */
export function attributeText(text: string): string {
  if (Buffer.byteLength(text) <= MAX_LENGTH) return text;
  return createHash("sha256").update(text).digest("hex");
}
