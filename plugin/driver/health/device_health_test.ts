import { expect, test } from "bun:test";
import { deviceName } from "../../../pool/device_name.ts";
import { devicesOf } from "./device_health.ts";
import { claimHealth, RENEWED_AT } from "./testing.ts";

const [UNKNOWN, HEALTHY, UNHEALTHY] = [0, 1, 2];

test("devicesOf() names the device as its ResourceSlice does", () => {
  expect(devicesOf(new Map([["uid-1", claimHealth()]]))).toEqual([
    {
      device: { poolName: "bitfusion-0", deviceName: deviceName("a/0") },
      health: 1,
      message: "GPU a/0 of pool server gpu-a:56001 is healthy",
      lastUpdatedTime: BigInt(RENEWED_AT / 1000),
      healthCheckTimeoutSeconds: 60n,
    },
  ]);
});

test.each([
  [{ failure: "lost" }, {}, HEALTHY],
  [{ failure: "lost" }, { gpus: [] }, UNKNOWN],
  [{ failure: "away" }, { failure: "away" }, UNHEALTHY],
])("devicesOf() tells the better of the states %j and %j of one device", (first, second, health) => {
  const claims = [claimHealth(first, "uid-1"), claimHealth(second, "uid-2")];
  for (const order of [claims, claims.toReversed()]) {
    const devices = devicesOf(new Map(order.map((each) => [each.claim.uid, each])));
    expect(devices.map((device) => device.health)).toEqual([health]);
  }
});
