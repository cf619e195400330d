// Each node lists the whole pool.
import { beforeAll, expect } from "bun:test";
import { POOL_UNITS } from "../cluster/pool.ts";
import { leasesOf, poolEvents, summarizeLeases } from "../records/pool_log.ts";
import { INSTALL_TIMEOUT, install } from "../steps/installation.ts";
import {
  apply,
  get,
  kubectl,
  rejectionMessage,
  WORKERS,
  waitFor,
  waitForSuccess,
  waitForUnits,
} from "../steps/kubectl.ts";
import { heldUnits, pluginSockets, restartKubelet, waitForNewSocket } from "../steps/node_plugin.ts";
import { sharePod } from "../steps/pods.ts";
import { expectUndisturbed, startPod } from "../steps/running_pods.ts";
import { scenario } from "../steps/scenario.ts";
import { startGpuPods, waitForInsufficientUnits, waitForReady } from "./gpu_pods.ts";

const UNITS = "requests.bitfusion.io/gpu";
const [node, otherNode] = WORKERS;

beforeAll(() => install("units"), INSTALL_TIMEOUT);

scenario("pods get whole GPUs and parts of GPUs, and a quota counts their units", async (namespace) => {
  await waitForUnits("allocatable", POOL_UNITS);
  const quota = { apiVersion: "v1", kind: "ResourceQuota", metadata: { name: "quota", namespace } };
  await apply({ ...quota, spec: { hard: { [UNITS]: 250 } } });
  await startGpuPods(namespace, { whole: { num: 1 }, two: { num: 2, percent: 50 }, half: { num: 1, percent: 50 } });
  const units: Record<string, number[]> = {};
  for (const name of ["whole", "two", "half"]) {
    const gpus = (await leasesOf(namespace, name)).flatMap(({ gpus }) => gpus);
    units[name] = gpus.map(({ units }) => units);
    expect(new Set(gpus.map(({ gpuId }) => gpuId)).size, name).toBe(gpus.length);
  }
  expect(units).toEqual({ whole: [100], two: [50, 50], half: [50] });
  const { status } = await get<{ status: { used: Record<string, string> } }>("resourcequota", "quota", "-n", namespace);
  expect(status.used[UNITS]).toBe("250");
  expect(await rejectionMessage(sharePod({ namespace, name: "more", num: 1, percent: 1 }))).toContain(
    `exceeded quota: quota, requested: ${UNITS}=1, used: ${UNITS}=250, limited: ${UNITS}=250`,
  );
});

scenario(
  "a pod with more than the pool is refused; with more than its node has left, it waits unscheduled; with more than other nodes leave, in its container",
  async (namespace) => {
    expect(await rejectionMessage(sharePod({ namespace, name: "four", num: 4, percent: 100 }))).toContain(
      "requests 100 % of each of 4 different GPUs, but the whole pool has 3 that can give it",
    );
    await startGpuPods(namespace, { holder: { num: 2, node } });
    const keepRunning = { namespace, num: 2, percent: 100, command: ["sleep", "600"] };
    await apply(sharePod({ ...keepRunning, name: "same-node", node }));
    await waitForInsufficientUnits(namespace, "same-node");
    await apply(sharePod({ ...keepRunning, name: "other-node", node: otherNode }));
    await waitForReady(namespace, "other-node");
    await waitFor("other-node to say why it waits", async () => {
      const log = await kubectl("logs", "other-node", "-n", namespace);
      return log.includes("Waiting for the pool: 1 of 2 requested GPUs are available");
    });
    await kubectl("delete", "pod", "same-node", "holder", "-n", namespace);
    await waitFor("a lease of other-node", async () => (await leasesOf(namespace, "other-node")).length > 0);
    expect(summarizeLeases(await poolEvents(namespace))).toMatchObject({ granted: 2, maxLeases: 1, maxUnits: 100 });
  },
);

scenario("the plugin re-registers after kubelet restarts, and a running pod keeps its units", async (namespace) => {
  const holder = { namespace, name: "holder", node };
  await startPod(holder);
  const held = await heldUnits(node, namespace, holder.name);
  expect(held).toEqual({ main: 5 });
  for (let restart = 0; restart < 3; restart++) {
    const before = await pluginSockets(node);
    await restartKubelet(node);
    await waitForNewSocket(node, before);
  }
  await waitForUnits("allocatable", POOL_UNITS, { nodes: [node] });
  await apply(sharePod({ namespace, name: "after", num: 1, percent: 50, node }));
  await waitForSuccess(namespace, "after");
  await expectUndisturbed(holder);
  expect(await heldUnits(node, namespace, holder.name)).toEqual(held);
});
