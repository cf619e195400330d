import { deviceName } from "../../../pool/device_name.ts";
import type { PreparedClaim } from "../files/prepared_claim.ts";
import type { ClaimHealth, LeaseHealth } from "./lease_health.ts";

/** The pool server of these tests. */
const ADDRESS = "gpu-a:56001";

/** When the lease was granted and renewed. */
export const RENEWED_AT = Date.parse("2026-11-29T12:00:00Z");

/** A claim with a lease on a GPU that was renewed just now. */
export function claimHealth(health: Partial<LeaseHealth> = {}, uid = "uid-1", gpuId = "a/0"): ClaimHealth {
  const leaseId = `lease-of-${uid}`;
  const device = deviceName(gpuId);
  const claim: PreparedClaim = {
    namespace: "team",
    name: "train",
    uid,
    owner: { namespace: "team", pod: "train", container: "main" },
    node: "node-1",
    containers: ["main"],
    shares: [{ request: "gpu", pool: "bitfusion-0", device, shareId: "s-1", units: 50 }],
    leases: [
      {
        address: ADDRESS,
        requestId: "r-1",
        gpuIds: [gpuId],
        units: 50,
        leaseId,
        secret: "hidden",
        timeToLive: 300_000,
        grantedAt: "2026-11-29T11:00:00Z",
      },
    ],
  };
  const gpus = [{ id: gpuId, healthy: true }];
  return { claim, leases: new Map([[leaseId, { checkedAt: RENEWED_AT, renewedAt: RENEWED_AT, gpus, ...health }]]) };
}
