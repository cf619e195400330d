import { createHash } from "node:crypto";
import type { ResourceClaimSpec } from "../../kubernetes/objects/resource_claim.ts";
import type { DeviceAttributes } from "../../pool/attributes.ts";
import { CLAIM_ANNOTATIONS, DEVICE_CLASS, DRIVER } from "../../pool/driver.ts";
import { attributeOfFilter, type Filter, formatFilter } from "../../pool/filter.ts";
import { formatShare, parseShare, type Share } from "../../pool/share.ts";
import { unitsPerGpu } from "../../pool/units.ts";

/** A ResourceClaimTemplate (resource.k8s.io/v1) that the pod's namespace must have. */
export interface ClaimTemplate {
  /** Tells the share, and changes with the content, which Kubernetes lets nobody change. */
  readonly name: string;
  readonly spec: ResourceClaimSpec;
  /** Of each claim that is made of it. */
  readonly annotations: Readonly<Record<string, string>>;
}

export interface ClaimOptions {
  readonly filters: readonly Filter[];
  /** Memory of one GPU in MB; used by shares of memory only. */
  readonly gpuMemoryMb: number;
}

/** The one request of each claim. */
const REQUEST = "gpu";

/**
 * What a share is to the scheduler: so many different GPUs, and of each so many units of capacity. A share of memory is counted in units
 * of a GPU of `gpuMemoryMb`, and goes to no GPU where they would be less.
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

/** The share that a template's name tells; undefined for another's template. */
export function shareOfTemplate(name: string): Share | undefined {
  const [, text = ""] = /^bitfusion-(\w+)-[0-9a-f]{8}$/.exec(name) ?? [];
  return parseShare(text);
}

/** The name of a container's claim in its pod: a DNS label, as its own name is. */
export function claimNameOf(container: string): string {
  const name = `bitfusion-${container}`;
  if (name.length <= 63) return name;
  return `bitfusion-${createHash("sha256").update(container).digest("hex").slice(0, 16)}`;
}

/** A filter in CEL, as a device's selector has it. */
function conditionOf(filter: Filter): string {
  const { name, text } = attributeOfFilter(filter);
  const isValue = (none: string, value: string) => `${attribute(name)}.orValue(${none}) == ${value}`;
  if (name === "memoryMb" && /^[1-9]\d{0,14}$/.test(text)) return isValue("0", text);
  if (name === "hasRdma" && /^(true|false)$/.test(text)) return isValue(String(text !== "true"), text);
  // A text equals no number. (An attribute that CEL makes a text, or an optional of one, exceeds the API server's cost limit.)
  return isValue('""', JSON.stringify(text)); // CEL's escapes are those of JSON (cel-spec)
}

/** An attribute that a device may lack: without the question mark, one that does ends the scheduling of the pod. */
function attribute(name: keyof DeviceAttributes): string {
  return `device.attributes["${DRIVER}"].?${name}`;
}
