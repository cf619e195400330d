import { expect, test } from "bun:test";
import type { Pod } from "../../kubernetes/objects/pod.ts";
import { readScheduling } from "./scheduling.ts";

/** A pod that the scheduler could not place, with what it says (Kubernetes 1.37). */
function pod(message: string, reason = "Unschedulable"): Pod {
  return {
    metadata: { name: "train", namespace: "team" },
    spec: { containers: [] },
    status: { conditions: [{ type: "PodScheduled", status: "False", reason, message }] },
  };
}

const PREEMPTION = "preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling.";

test.each([
  [2, `0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 cannot allocate all claims. ${PREEMPTION}`],
  [12, `0/12 nodes are available: 12 cannot allocate all claims. still not schedulable, ${PREEMPTION}`],
  [1, `0/3 nodes are available: 1 cannot allocate all claims, 2 Insufficient cpu. ${PREEMPTION}`],
  [0, `0/3 nodes are available: 3 Insufficient cpu. ${PREEMPTION}`],
  [
    0,
    "0/3 nodes are available: waiting for the claim. preemption: 0/3 nodes are available: 2 cannot allocate all claims",
  ],
  [0, "another scheduler has no room"],
])("readScheduling() finds %d nodes on which only devices are missing in: %s", (count, message) => {
  expect(readScheduling(pod(message)).nodesWithoutDevices).toBe(count);
});

test("readScheduling() finds no such nodes while scheduling is gated, has not been tried, or has succeeded", () => {
  const gated = pod("2 cannot allocate all claims", "SchedulingGated");
  expect(readScheduling(gated).nodesWithoutDevices).toBe(0);
  expect(readScheduling({ ...gated, status: {} }).nodesWithoutDevices).toBe(0);
});

test("readScheduling() reads the priority, and whether the pod may preempt", () => {
  const { metadata, spec } = pod("");
  expect(readScheduling({ metadata, spec })).toMatchObject({ priority: 0, mayPreempt: true });
  const quiet = { ...spec, priority: 7, preemptionPolicy: "Never" } as const;
  expect(readScheduling({ metadata, spec: quiet })).toMatchObject({ priority: 7, mayPreempt: false });
});

test("readScheduling() keeps what the pod says about nodes, and nothing of absurd length", () => {
  const { metadata, spec } = pod("");
  const placement = { nodeSelector: { zone: "a" }, tolerations: [{ key: "gpu" }] };
  expect(readScheduling({ metadata, spec: { ...spec, ...placement } })).toMatchObject({ mayPreempt: true, placement });
  const long = { ...spec, nodeSelector: { zone: "a".repeat(10_000) } };
  expect(readScheduling({ metadata, spec: long })).toMatchObject({ mayPreempt: false, placement: {} });
});
