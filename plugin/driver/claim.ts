import { parseQuantity, toInteger } from "../../kubernetes/objects/quantity.ts";
import type { DeviceAllocation, ResourceClaim } from "../../kubernetes/objects/resource_claim.ts";
import { DRIVER } from "../../pool/driver.ts";

/** What the kubelet calls a ResourceClaim (resource.k8s.io). */
export interface ClaimId {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
}

/** A share of a GPU that the scheduler has given to a claim. */
export interface GpuShare {
  /** The request of the claim. */
  readonly request: string;
  /** Pool and device as in the ResourceSlice. */
  readonly pool: string;
  readonly device: string;
  /** Tells the shares of one device apart. */
  readonly shareId?: string | undefined;
  /** 1 to 100, percent of the GPU. */
  readonly units: number;
}

/** Reads a claim from the API server; undefined if it says that there is none. */
export type ReadClaim = (
  claim: Pick<ClaimId, "namespace" | "name">,
  signal: AbortSignal,
) => Promise<ResourceClaim | undefined>;

/**
 * Why the claim of this uid has no devices any more, as field, value and what would be right; undefined while it has them. The uid of
 * a claim that was removed never comes back.
 */
export function whyLost(claim: ResourceClaim | undefined, { uid }: ClaimId): string | undefined {
  if (!claim) return `there is none: expected the one of uid "${uid}"`;
  if (claim.metadata?.uid !== uid) return `metadata.uid is "${claim.metadata?.uid}": expected "${uid}"`;
  if (!claim.status?.allocation) return "status.allocation is not set: expected what the scheduler has allocated";
  return undefined;
}

/**
 * The shares of the pool's GPUs that a claim has.
 *
 * @throws {Error} names the claim, the field, its value and what would be right.
 */
export function sharesOf(claim: ResourceClaim | undefined, id: ClaimId): GpuShare[] {
  const lost = whyLost(claim, id);
  if (lost) throw new Error(`Claim ${nameOf(id)}: ${lost}`);
  const shares = (claim?.status?.allocation?.devices?.results ?? []).flatMap((result, index) =>
    result.driver === DRIVER
      ? [shareOf(result, `Claim ${nameOf(id)}: status.allocation.devices.results.${index}`)]
      : [],
  );
  if (shares.length > 0) return shares;
  throw new Error(
    `Claim ${nameOf(id)}: status.allocation.devices.results has no device of driver ${DRIVER}: expected one or more`,
  );
}

function shareOf({ request, pool, device, shareID, consumedCapacity }: DeviceAllocation, path: string) {
  const quantity = consumedCapacity?.units;
  const expected = "expected a whole number from 1 to 100";
  if (quantity === undefined) throw new Error(`${path}.consumedCapacity.units is not set: ${expected}`);
  const units = unitsOf(quantity);
  if (units === undefined) throw new Error(`${path}.consumedCapacity.units is "${quantity}": ${expected}`);
  const [name = ""] = request.split("/"); // after a slash comes which of the request's alternatives it is
  return { request: name, pool, device, shareId: shareID, units };
}

function unitsOf(quantity: string): number | undefined {
  try {
    const units = toInteger(parseQuantity(quantity));
    return units !== undefined && units >= 1 && units <= 100 ? units : undefined;
  } catch {
    return undefined; // no quantity
  }
}

/** How messages call a claim. */
export function nameOf({ namespace, name }: Pick<ClaimId, "namespace" | "name">): string {
  return `${namespace}/${name}`;
}
