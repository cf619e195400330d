import { expect, test } from "bun:test";
import { X509Certificate } from "node:crypto";
import { TEST_SERVER } from "../../tls/testing.ts";
import { createServerMetrics } from "./metrics.ts";

const OWNER = { namespace: "team-a", pod: 'tr"ain', container: "main" };
const LEASE = {
  id: "1",
  holder: { client: "cluster-a", isPod: false },
  secret: "secret",
  owner: OWNER,
  gpus: [{ gpuId: "GPU-a", units: 25 }],
  grantedAt: 0,
  expiresAt: 0,
};
const LABELS = 'client="cluster-a",namespace="team-a",pod="tr\\"ain",container="main",gpu="GPU-a"';

test("createServerMetrics() tells the share and the use of each lease, added for each container", async () => {
  const { registry } = createServerMetrics({
    cert: () => TEST_SERVER.cert,
    leases: () => [LEASE, { ...LEASE, id: "2" }],
    now: () => 0,
    usesOf: (id) => [{ gpuId: "GPU-a", memoryMb: id === "1" ? 1500 : 500, utilization: 25 }],
    memoryOf: () => 16_000,
  });
  const lines = (await registry.metrics()).split("\n");
  expect(lines).toContain(`bitfusion_server_lease_memory_share_bytes{${LABELS}} 8000000000`);
  expect(lines).toContain(`bitfusion_server_lease_memory_used_bytes{${LABELS}} 2000000000`);
  expect(lines).toContain(`bitfusion_server_lease_utilization_ratio{${LABELS}} 0.5`);
});

test("createServerMetrics() leaves out what is not known, and never tells secrets", async () => {
  const { registry } = createServerMetrics({
    cert: () => TEST_SERVER.cert,
    leases: () => [LEASE],
    now: () => 0,
    usesOf: () => [{ gpuId: "GPU-a", memoryMb: 0 }],
    memoryOf: () => 16_000,
  });
  const text = await registry.metrics();
  expect(text).toContain(`bitfusion_server_lease_memory_used_bytes{${LABELS}} 0`);
  expect(text).not.toContain("bitfusion_server_lease_utilization_ratio{");
  expect(text).not.toContain("secret");
});

test("createServerMetrics() tells when the certificate expires", async () => {
  const metrics = createServerMetrics({
    cert: () => TEST_SERVER.cert,
    leases: () => [],
    now: () => 0,
    usesOf: () => [],
    memoryOf: () => 0,
  });
  const seconds = new X509Certificate(TEST_SERVER.cert).validToDate.getTime() / 1000;
  expect(await metrics.registry.metrics()).toContain(
    `bitfusion_server_certificate_expiry_timestamp_seconds ${seconds}`,
  );
});

test("createServerMetrics() counts processes that were ended, by client and namespace", async () => {
  const metrics = createServerMetrics({
    cert: () => TEST_SERVER.cert,
    leases: () => [],
    now: () => 0,
    usesOf: () => [],
    memoryOf: () => 0,
  });
  metrics.countEnded(LEASE);
  expect(await metrics.registry.metrics()).toContain(
    'bitfusion_server_ended_processes_total{client="cluster-a",namespace="team-a"} 1',
  );
});

test("createServerMetrics() counts the time that leases hold and use GPUs, also of those that have ended", async () => {
  let now = 60_000;
  const leases = [
    { ...LEASE, grantedAt: 0, gpus: [{ gpuId: "GPU-a", units: 25 }] }, // from before this run
    { ...LEASE, id: "2", grantedAt: 70_000, gpus: ["GPU-a", "GPU-b"].map((gpuId) => ({ gpuId, units: 50 })) },
  ];
  const metrics = createServerMetrics({
    cert: () => TEST_SERVER.cert,
    leases: () => leases,
    now: () => now,
    usesOf: () => [],
    memoryOf: () => 0,
  });
  const counted = async (name: string) => {
    const line = (await metrics.registry.metrics()).split("\n").find((line) => line.startsWith(`${name}{`));
    return line?.replace(`${name}{client="cluster-a",namespace="team-a"} `, "");
  };
  now = 100_000;
  expect(await counted("bitfusion_server_held_gpu_seconds_total")).toBe(String(40 * 0.25 + 30));
  metrics.countHeld(leases.pop() ?? LEASE);
  now = 110_000;
  expect(await counted("bitfusion_server_held_gpu_seconds_total")).toBe(String(50 * 0.25 + 30));
  metrics.countUse(LEASE, 1.5);
  metrics.countUse(LEASE, 2);
  expect(await counted("bitfusion_server_used_gpu_seconds_total")).toBe("3.5");
});
