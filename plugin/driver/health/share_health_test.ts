import { expect, test } from "bun:test";
import type { LeaseHealth } from "./lease_health.ts";
import { sharesOf } from "./share_health.ts";
import { claimHealth } from "./testing.ts";

const UNHEALTHY = { id: "a/0", healthy: false };

test.each<[health: Partial<LeaseHealth>, status: string, reason: string, message: string]>([
  [{}, "True", "LeaseHeld", "GPU a/0 of pool server gpu-a:56001 is healthy"],
  [
    { gpus: [{ ...UNHEALTHY, problem: "xid-79" }] },
    "False",
    "GpuUnhealthy",
    "Pool server gpu-a:56001 reports GPU a/0 as unhealthy: xid-79",
  ],
  [
    { gpus: [{ ...UNHEALTHY, problem: "" }] },
    "False",
    "GpuUnhealthy",
    "Pool server gpu-a:56001 reports GPU a/0 as unhealthy",
  ],
  [
    { failure: "Pool server gpu-a:56001: refused" },
    "False",
    "LeaseNotRenewed",
    "Cannot renew the lease on GPU a/0: Pool server gpu-a:56001: refused",
  ],
  [{ gpus: [] }, "Unknown", "HealthUnknown", "Pool server gpu-a:56001 does not report the health of GPU a/0"],
])("sharesOf() judges %j", (health, status, reason, message) => {
  const [share] = sharesOf(claimHealth(health));
  expect(share?.verdict).toEqual({ status, reason, message } as never);
});

test("sharesOf() bounds and escapes what a server says", () => {
  const [share] = sharesOf(claimHealth({ gpus: [{ ...UNHEALTHY, problem: `\u001b[2J${"x".repeat(10_000)}` }] }));
  expect(share?.verdict.message).toContain("unhealthy: \\u001b[2Jxxx");
  expect(share?.verdict.message.length).toBeLessThan(700);
});
