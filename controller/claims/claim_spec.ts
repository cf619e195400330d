import type { DeviceConstraint, ResourceClaimSpec } from "../../kubernetes/objects/resource_claim.ts";
import type { DeviceAttributes } from "../../pool/attributes.ts";
import { DEVICE_CLASS, DRIVER, SERVER_ATTRIBUTE } from "../../pool/driver.ts";
import { attributeOfFilter, type Filter } from "../../pool/filter.ts";
import type { PodClaim } from "../../pool/pod_claims.ts";

/** Name of the only request of each claim. */
const REQUEST = "gpu";

/**
 * The spec of a claim: a number of different GPUs, and units of capacity of each. A GPU on which the units are less than the requested
 * memory is excluded.
 */
export function claimSpec({
  share,
  units,
  filters,
  oneServer,
}: Pick<PodClaim, "share" | "units" | "filters" | "oneServer">): ResourceClaimSpec {
  const constraints: DeviceConstraint[] = [{ requests: [REQUEST], distinctAttribute: `${DRIVER}/id` }];
  // It halves the rate of the scheduler, so it is only where it makes a difference.
  if (oneServer) constraints.push({ requests: [REQUEST], matchAttribute: SERVER_ATTRIBUTE });
  const conditions = filters.map(conditionOf);
  if ("memoryMb" in share) conditions.push(`${attribute("memoryMb")}.orValue(0) * ${units} >= ${share.memoryMb} * 100`);
  return {
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
      ...(share.gpus > 1 ? { constraints } : {}),
    },
  };
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
