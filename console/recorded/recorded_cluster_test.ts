import { expect, test } from "bun:test";
import { viewPool } from "../view/view.ts";
import { wayOfPod } from "../view/way.ts";
import { readRecordedCluster } from "./recorded_cluster.ts";

const cluster = await readRecordedCluster();
const view = viewPool(cluster);
const gpus = view.servers.flatMap((server) => server.gpus);

test("the view of the recorded cluster has its 125 servers, 1,000 GPUs and every share once", () => {
  const allocated = cluster.claims.flatMap(({ status }) => status?.allocation?.devices?.results ?? []);
  expect([view.totals.servers, view.totals.gpus, gpus.length]).toEqual([125, 1000, 1000]);
  expect(view.holders).toHaveLength(allocated.length);
  expect(new Set(gpus.flatMap(({ shares }) => shares.map(({ id }) => id))).size).toBe(allocated.length);
  const units = allocated.reduce((sum, { consumedCapacity }) => sum + Number(consumedCapacity?.units), 0);
  expect([view.totals.totalUnits, view.totals.heldUnits]).toEqual([100_000, units]);
  expect(view.problems).toEqual([]);
});

test("the view of the recorded cluster has the states that servers and GPUs were brought to", () => {
  const states = Object.fromEntries(
    [...Map.groupBy(gpus, ({ state }) => state)].map(([state, all]) => [state, all.length]),
  );
  expect(states).toEqual({ ok: 1000 - 24 - 32 - 12 - 3, unreachable: 24, draining: 32, unhealthy: 12, tainted: 3 });
  const away = view.servers.filter(({ reachable }) => !reachable);
  expect(away.map(({ name }) => name).sort()).toEqual(["gpu-011", "gpu-012", "gpu-013"]);
});

test("the view of the recorded cluster tells of each pod whether it runs or what it waits for", () => {
  const waiting = cluster.pods.filter(({ spec }) => spec.nodeName === undefined);
  expect(view.queue).toHaveLength(waiting.length);
  for (const { reasons } of view.queue) expect(reasons[0]).toMatch(/^needs /);
  for (const pod of cluster.pods) {
    const last = wayOfPod(pod, view).steps.findLast(({ state }) => state !== "later");
    expect(["allocation waiting", "lease failed", "containers done"]).toContain(`${last?.name} ${last?.state}`);
  }
  expect(view.refusals).toMatchObject([{ namespace: "vision", kind: "Job", name: "sweep", count: 7 }]);
});

test("shares of servers that are away fail, with the driver's words", () => {
  const failing = view.holders.filter(({ state }) => state === "failing");
  expect(failing.length).toBeGreaterThan(0);
  const troubled = new Set(gpus.filter(({ healthy }) => !healthy).map(({ id }) => id));
  for (const { gpu, message } of failing) {
    expect(troubled).toContain(gpu);
    expect(message).toMatch(/^(Cannot renew the lease on GPU|Pool server .* reports GPU .* as unhealthy)/);
  }
});
