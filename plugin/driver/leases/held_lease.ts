import { createHash } from "node:crypto";
import * as v from "valibot";
import type { LeaseOwner } from "../../../pool/lease.ts";
import type { ClaimId, GpuShare } from "../claims/claim.ts";

export const HeldLease = v.object({
  /** host:port of the server. */
  address: v.string(),
  /** The id of the claim on the server: {@link requestIdOf}. */
  requestId: v.string(),
  gpuIds: v.array(v.string()),
  /** Percent of each GPU, 1 to 100. */
  units: v.number(),
  leaseId: v.string(),
  secret: v.string(),
  /** Not set if the server forwards no calls. */
  gatePort: v.optional(v.number()),
  /** In ms. */
  timeToLive: v.number(),
  /** When the server granted it, by the server's clock: RFC 3339, whole seconds. Records of earlier versions lack it. */
  grantedAt: v.optional(v.string()),
});

/** A lease that the driver holds for a claim, on GPUs of one server. */
export type HeldLease = Readonly<v.InferOutput<typeof HeldLease>>;

/** What the driver asks a server for. */
export type LeaseRequest = Pick<HeldLease, "address" | "requestId" | "gpuIds" | "units">;

/** What a claim needs leases for. */
export interface LeasedClaim extends ClaimId {
  /** The holder that the servers show. */
  readonly owner: LeaseOwner;
  /** Name of the node. */
  readonly node: string;
  readonly shares: readonly GpuShare[];
}

/**
 * The id of a claim on a server: a UUID that follows from all that makes the lease this one. A repeat thus gets the same lease, and another node,
 * or the same claim after another allocation, never does.
 */
export function requestIdOf({ uid, node }: Pick<LeasedClaim, "uid" | "node">, shares: readonly GpuShare[]): string {
  const parts = shares.map(({ device, shareId = "", units }) => JSON.stringify([device, shareId, units])).toSorted();
  const hash = createHash("sha256")
    .update(JSON.stringify([uid, node, parts]))
    .digest("hex");
  return hash.slice(0, 32).replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}
