import { createHash } from "node:crypto";
import type { ResourceClaimSpec } from "../../kubernetes/objects/resource_claim.ts";
import type { DeviceAttributes } from "../../pool/attributes.ts";
import { CLAIM_ANNOTATIONS, DEVICE_CLASS, DRIVER } from "../../pool/driver.ts";
import { attributeOfFilter, type Filter, formatFilter } from "../../pool/filter.ts";
import { formatShare, parseShare, type Share } from "../../pool/share.ts";
import { unitsPerGpu } from "../../pool/units.ts";

/** A ResourceClaimTemplate (resource.k8s.io/v1) that the pod's namespace must have. */
export interface ClaimTemplate {
  /** Contains the share and a hash of the spec, because a template's spec is immutable. */
  readonly name: string;
  readonly spec: ResourceClaimSpec;
  /** Annotations of each claim that is created from the template. */
  readonly annotations: Readonly<Record<string, string>>;
}

export interface ClaimOptions {
  readonly filters: readonly Filter[];
  /** Memory of one GPU in MB. Only memory shares use it. */
  readonly gpuMemoryMb: number;
}

/** Name of the only request of each claim. */
const REQUEST = "gpu";

/**
 * The claim template for a share: a number of different GPUs, and units of capacity of each. The units of a memory
 * share are those of a GPU with `gpuMemoryMb`. A GPU on which these units are less than the requested memory is
 * excluded.
 */
export function claimTemplateOf(share: Share, { filters, gpuMemoryMb }: ClaimOptions): ClaimTemplate {
  const units = unitsPerGpu(share, gpuMemoryMb);
  const conditions = filters.map(conditionOf);
  if ("memoryMb" in share) conditions.push(`${attribute("memoryMb")}.orValue(0) * ${units} >= ${share.memoryMb} * 100`);
  const spec: ResourceClaimSpec = {
    devices: {
      requests: [
        {
          name: REQUEST,
          exactly: {
            deviceClassName: DEVICE_CLASS,
            allocationMode: "ExactCount",
            count: share.gpus,
            capacity: { requests: { units: String(units) } },
            ...(conditions.length > 0 ? { selectors: conditions.map((expression) => ({ cel: { expression } })) } : {}),
          },
        },
      ],
      ...(share.gpus > 1 ? { constraints: [{ requests: [REQUEST], distinctAttribute: `${DRIVER}/id` }] } : {}),
    },
  };
  const hash = createHash("sha256").update(JSON.stringify(spec)).digest("hex").slice(0, 8);
  const annotations = {
    [CLAIM_ANNOTATIONS.share]: formatShare(share),
    ...(filters.length > 0 ? { [CLAIM_ANNOTATIONS.filter]: filters.map(formatFilter).join(" ") } : {}),
  };
  return { name: `bitfusion-${formatShare(share)}-${hash}`, spec, annotations };
}

/** The share in a template's name. Undefined for any other name. */
export function shareOfTemplate(name: string): Share | undefined {
  const [, text = ""] = /^bitfusion-(\w+)-[0-9a-f]{8}$/.exec(name) ?? [];
  return parseShare(text);
}

/** The name of a container's claim in its pod. It is a DNS label. */
export function claimNameOf(container: string): string {
  const name = `bitfusion-${container}`;
  if (name.length <= 63) return name;
  return `bitfusion-${createHash("sha256").update(container).digest("hex").slice(0, 16)}`;
}

/** A filter as a CEL expression for a device selector. */
function conditionOf(filter: Filter): string {
  const { name, text } = attributeOfFilter(filter);
  const isValue = (none: string, value: string) => `${attribute(name)}.orValue(${none}) == ${value}`;
  if (name === "memoryMb" && /^[1-9]\d{0,14}$/.test(text)) return isValue("0", text);
  if (name === "hasRdma" && /^(true|false)$/.test(text)) return isValue(String(text !== "true"), text);
  // A string never equals a number. Converting the attribute, or an optional of it, to a string exceeds the API
  // server's cost limit.
  return isValue('""', JSON.stringify(text)); // CEL has the escapes of JSON (cel-spec)
}

/**
 * An optional attribute of a device. Without the question mark, a device that lacks it aborts the scheduling of the
 * pod.
 */
function attribute(name: keyof DeviceAttributes): string {
  return `device.attributes["${DRIVER}"].?${name}`;
}
