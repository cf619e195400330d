import { isDeepStrictEqual } from "node:util";
import { formatTime } from "../../../kubernetes/formats/time.ts";
import type { Condition, DeviceStatus, ResourceClaim } from "../../../kubernetes/objects/resource_claim.ts";
import { DRIVER } from "../../../pool/driver.ts";
import type { ClaimHealth } from "./lease_health.ts";
import { type ShareHealth, sharesOf } from "./share_health.ts";

/** The condition of a device. */
const READY = "Ready";

/** What the status of a claim says about the devices of the driver, and when this was written. */
export interface WrittenStatus {
  readonly devices: readonly DeviceStatus[];
  /** In ms since the epoch. */
  readonly writtenAt: number;
}

/** Shortest time between two writes of a claim's status, in ms. */
export const MIN_PAUSE = 60_000;

/** Longest time between two writes, in ms: 5,000 nodes with four claims each make eleven writes a second. */
const MAX_PAUSE = 1_800_000;

/** What the status of a claim should say: an entry for each share. A condition that has not changed keeps its time. */
export function deviceStatuses(health: ClaimHealth, { devices: before }: WrittenStatus): DeviceStatus[] {
  return sharesOf(health).map((share) => deviceStatus(share, health.claim.node, before));
}

function deviceStatus(
  { share, lease, gpuId, checkedAt, renewedAt, verdict }: ShareHealth,
  node: string,
  before: readonly DeviceStatus[],
): DeviceStatus {
  const { pool, device, shareId } = share;
  const earlier = before.find((each) => each.pool === pool && each.device === device && each.shareID === shareId);
  const condition = earlier?.conditions.find(({ type }) => type === READY);
  const lastRenewal = renewedAt === undefined ? earlier?.data?.lastRenewal : formatTime(renewedAt);
  const since = condition?.status === verdict.status ? condition.lastTransitionTime : formatTime(checkedAt);
  return {
    driver: DRIVER,
    pool,
    device,
    ...(shareId === undefined ? {} : { shareID: shareId }),
    conditions: [{ type: READY, ...verdict, lastTransitionTime: since } satisfies Condition],
    data: {
      node,
      server: lease.address,
      gpu: gpuId,
      ...(lease.grantedAt === undefined ? {} : { since: lease.grantedAt }),
      ...(lastRenewal === undefined ? {} : { lastRenewal }),
    },
  };
}

/**
 * Whether a claim's status must be written now: soon after a change, and seldom for the time of the last renewal alone.
 *
 * @param now in ms since the epoch.
 */
export function isDue(devices: readonly DeviceStatus[], written: WrittenStatus, now: number): boolean {
  const isChanged = !isDeepStrictEqual(devices.map(withoutRenewal), written.devices.map(withoutRenewal));
  return now - written.writtenAt >= (isChanged ? MIN_PAUSE : MAX_PAUSE);
}

function withoutRenewal({ data: { lastRenewal: _, ...data } = {}, ...status }: DeviceStatus): DeviceStatus {
  return { ...status, data };
}

/** What the status of a claim says now. Its last write was when it says that a lease was renewed last. */
export function writtenStatus({ status }: Pick<ResourceClaim, "status">): WrittenStatus {
  const devices = (status?.devices ?? []).filter(({ driver }) => driver === DRIVER);
  const times = devices.map(({ data }) => Date.parse(data?.lastRenewal ?? "")).filter(Number.isFinite);
  return { devices, writtenAt: Math.max(0, ...times) };
}
