import { expect, test } from "bun:test";
import { createClient, createRouterTransport } from "@connectrpc/connect";
import { deviceName } from "../../../pool/device_name.ts";
import { createLatest } from "../../../program/latest.ts";
import { DRAResourceHealth } from "../../../proto/gen/drahealth/v1/api_pb.ts";
import { createHealthService, devicesOf } from "./device_health.ts";
import type { NodeHealth } from "./lease_health.ts";
import { claimHealth, RENEWED_AT } from "./testing.ts";

const [UNKNOWN, HEALTHY, UNHEALTHY] = [0, 1, 2] as const;

test("devicesOf() names the device as its ResourceSlice does", () => {
  expect(devicesOf(new Map([["uid-1", claimHealth()]]), new Set([deviceName("a/0")]))).toEqual([
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
    const devices = devicesOf(new Map(order.map((each) => [each.claim.uid, each])), new Set());
    expect(devices.map((device) => device.health)).toEqual([health]);
  }
});

test("each call tells of each device first in a way that the kubelet takes as a change, though nothing else has changed", async () => {
  const health = createLatest<NodeHealth>();
  const transport = createRouterTransport(({ service }) => service(DRAResourceHealth, createHealthService(health)));
  const one = new Map([["uid-1", claimHealth()]]);
  const both = new Map([...one, ["uid-2", claimHealth({}, "uid-2", "a/1")]]);
  for (let call = 0; call < 2; call++) {
    health.set(one);
    const timeouts: number[][] = [];
    for await (const { devices } of createClient(DRAResourceHealth, transport).nodeWatchResources({})) {
      timeouts.push(devices.map(({ healthCheckTimeoutSeconds }) => Number(healthCheckTimeoutSeconds)));
      if (timeouts.length === 3) break;
      health.set(new Map(both));
    }
    expect(timeouts).toEqual([[61], [60, 61], [60, 60]]);
  }
});
