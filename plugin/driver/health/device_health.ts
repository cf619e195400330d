import type { MessageInitShape } from "@bufbuild/protobuf";
import type { ServiceImpl } from "@connectrpc/connect";
import type { Latest } from "../../../program/latest.ts";
import type { DeviceHealthSchema, DRAResourceHealth } from "../../../proto/gen/drahealth/v1/api_pb.ts";
import type { NodeHealth } from "./lease_health.ts";
import { type ShareHealth, sharesOf } from "./share_health.ts";

/** How long the kubelet may get no response until it takes the health as unknown, in s: several rounds of renewals. */
const TIMEOUT = 60;

/**
 * The same, when a call tells of a device for the first time. The kubelet takes this as a change, also of what it remembers since before its restart, and syncs
 * the pods of the device (healthInfoCache, k8s.io/kubernetes/pkg/kubelet/cm/dra). After a restart of the node, it has asked for their claims when the driver
 * was not there yet, and would ask again only after 60 to 90 s (SyncFrequency).
 */
const FIRST_TIMEOUT = TIMEOUT + 1;

/** HealthStatus of k8s.io/kubelet/pkg/apis/dra-health/v1. */
const STATUS = { Unknown: 0, True: 1, False: 2 } as const;

/** From the best to the worst. */
const ORDER = ["True", "Unknown", "False"] as const;

/** `v1.DRAResourceHealth`: the health of the devices of all prepared claims, after each round of renewals. */
export function createHealthService(health: Latest<NodeHealth>): ServiceImpl<typeof DRAResourceHealth> {
  return {
    async *nodeWatchResources(_, { signal }) {
      const told = new Set<string>();
      for await (const current of health.changes(signal)) {
        const devices = devicesOf(current, told);
        yield { devices };
        for (const { device } of devices) told.add(device.deviceName);
      }
    },
  };
}

/**
 * The health of each device. The kubelet knows devices, not shares: one that a claim can use is healthy, though another claim may have lost its
 * lease on it.
 *
 * @param told the devices that the kubelet was told of in the same call.
 */
export function devicesOf(health: NodeHealth, told: ReadonlySet<string>) {
  const shares = [...health.values()].flatMap(sharesOf);
  const devices = Map.groupBy(shares, ({ share: { pool, device } }) => `${pool}/${device}`);
  return Array.from(devices.values(), (all) => {
    const [best] = all.toSorted((a, b) => rank(a) - rank(b)) as [ShareHealth];
    const { share, checkedAt, verdict } = best;
    return {
      device: { poolName: share.pool, deviceName: share.device },
      health: STATUS[verdict.status],
      message: verdict.message,
      lastUpdatedTime: BigInt(Math.floor(checkedAt / 1000)),
      healthCheckTimeoutSeconds: BigInt(told.has(share.device) ? TIMEOUT : FIRST_TIMEOUT),
    } satisfies MessageInitShape<typeof DeviceHealthSchema>;
  });
}

function rank({ verdict }: ShareHealth): number {
  return ORDER.indexOf(verdict.status);
}
