import { parseInteger } from "../../../kubernetes/formats/quantity.ts";
import type { Pod } from "../../../kubernetes/objects/pod.ts";
import type { DeviceAllocation, ResourceClaim } from "../../../kubernetes/objects/resource_claim.ts";
import type { ResourceSlice } from "../../../kubernetes/objects/resource_slice.ts";
import { DRIVER } from "../../../pool/driver.ts";
import { UNITS_PER_GPU } from "../../../pool/units.ts";

/** The identity of a ResourceClaim, as the kubelet sends it. */
export interface ClaimId {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
}

/** A share of a GPU that the scheduler allocated to a claim. */
export interface GpuShare {
  /** Name of the request in the claim. */
  readonly request: string;
  /** Pool and device as in the ResourceSlice. */
  readonly pool: string;
  readonly device: string;
  /** Distinguishes the shares of one device. */
  readonly shareId?: string | undefined;
  /** Percent of the GPU, 1 to 100. */
  readonly units: number;
}

/** Reads a claim from the API server. Undefined if the claim does not exist. */
export type ReadClaim = (
  claim: Pick<ClaimId, "namespace" | "name">,
  signal: AbortSignal,
) => Promise<ResourceClaim | undefined>;

/** Reads a pod from the API server. Undefined if the pod does not exist. */
export type ReadPod = (pod: { namespace: string; name: string }, signal: AbortSignal) => Promise<Pod | undefined>;

/** Reads a ResourceSlice from the API server. Undefined if it does not exist. */
export type ReadSlice = (name: string, signal: AbortSignal) => Promise<ResourceSlice | undefined>;

/**
 * Why the claim with this uid has no devices any more: field, value and what is expected. Undefined if it has devices. A uid is never
 * used again after its claim was deleted.
 */
export function reasonForLoss(claim: ResourceClaim | undefined, { uid }: ClaimId): string | undefined {
  if (!claim) return `it does not exist: expected a claim with uid "${uid}"`;
  if (claim.metadata?.uid !== uid) return `metadata.uid is "${claim.metadata?.uid}": expected "${uid}"`;
  if (!claim.status?.allocation) return "status.allocation is not set: expected an allocation by the scheduler";
  return undefined;
}

/**
 * The shares of the pool's GPUs that a claim holds.
 *
 * @throws {Error} names the claim, the field, its value and what is expected.
 */
export function allocatedShares(claim: ResourceClaim | undefined, id: ClaimId): GpuShare[] {
  const reason = reasonForLoss(claim, id);
  if (reason) throw new Error(`Claim ${formatClaim(id)}: ${reason}`);
  const path = `Claim ${formatClaim(id)}: status.allocation.devices.results`;
  const shares = (claim?.status?.allocation?.devices?.results ?? []).flatMap((result, index) =>
    result.driver === DRIVER ? [toShare(result, `${path}.${index}`)] : [],
  );
  if (shares.length > 0) return shares;
  throw new Error(`${path} has no device of driver ${DRIVER}: expected at least one`);
}

/** The units that a claim was allocated on all GPUs of the pool. A device without a number of units counts as a whole GPU. */
export function allocatedUnits({ status }: ResourceClaim): number {
  const results = status?.allocation?.devices?.results ?? [];
  return results.reduce(
    (total, { driver, consumedCapacity = {} }) =>
      driver === DRIVER ? total + (parseUnits(consumedCapacity.units ?? "") ?? UNITS_PER_GPU) : total,
    0,
  );
}

function toShare({ request, pool, device, shareID, consumedCapacity }: DeviceAllocation, path: string): GpuShare {
  const quantity = consumedCapacity?.units;
  const expected = "expected a whole number from 1 to 100";
  if (quantity === undefined) throw new Error(`${path}.consumedCapacity.units is not set: ${expected}`);
  const units = parseUnits(quantity);
  if (units === undefined) throw new Error(`${path}.consumedCapacity.units is "${quantity}": ${expected}`);
  const [name = ""] = request.split("/"); // a slash separates the request from the alternative that was chosen
  return { request: name, pool, device, shareId: shareID, units };
}

function parseUnits(quantity: string): number | undefined {
  const units = parseInteger(quantity);
  return units !== undefined && units >= 1 && units <= UNITS_PER_GPU ? units : undefined;
}

/** The name of a claim in messages. */
export function formatClaim({ namespace, name }: Pick<ClaimId, "namespace" | "name">): string {
  return `${namespace}/${name}`;
}
