import type { ClaimAllocation } from "../../pool/lease.ts";
import { isObjectName } from "../../pool/names.ts";
import type { Lease } from "../../proto/gen/bitfusion/pool/v1/pool_pb.ts";

/** A lease that a driver of the cluster took for a ResourceClaim. */
export interface ClaimLease {
  readonly id: string;
  readonly claim: ClaimAllocation;
}

/** Safe in a log. The uids of Kubernetes are UUIDs. */
const UID = /^[0-9A-Za-z-]{1,63}$/;

/**
 * The leases of a server that are for ResourceClaims. All others are left alone: pods take leases themselves, and what no driver can have written
 * tells nothing about the cluster.
 */
export function readClaimLeases(leases: readonly Pick<Lease, "id" | "resourceClaim">[]): ClaimLease[] {
  return leases.flatMap(({ id, resourceClaim }) => {
    if (!resourceClaim) return [];
    const { namespace, name, uid, node, shareIds } = resourceClaim;
    const isValid = [namespace, name, node].every(isObjectName) && UID.test(uid);
    return isValid ? [{ id, claim: { namespace, name, uid, node, shareIds } }] : [];
  });
}
