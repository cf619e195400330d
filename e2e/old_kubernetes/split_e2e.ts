// Each node lists its part of the pool.
import { afterAll, beforeAll, expect } from "bun:test";
import { POOL_UNITS } from "../cluster/pool.ts";
import { poolEvents, summarizeLeases } from "../records/pool_log.ts";
import { INSTALL_TIMEOUT, install } from "../steps/installation.ts";
import { apply, get, kubectl, WORKERS, waitFor, waitForUnits } from "../steps/kubectl.ts";
import { type PodManifest, sharePod } from "../steps/pods.ts";
import { scenario } from "../steps/scenario.ts";
import { startGpuPods, waitForInsufficientUnits, waitForReady } from "./gpu_pods.ts";

/** Nodes with one and with two of the pool's three GPUs. */
const [small, large] = WORKERS;

beforeAll(async () => {
  await install("units");
  await setPlugin(`SPLIT_NODES=${WORKERS.join(",")}`);
  await waitForUnits("allocatable", 100, { nodes: [small] });
  await waitForUnits("allocatable", 200, { nodes: [large] });
}, INSTALL_TIMEOUT);

afterAll(async () => {
  await setPlugin("SPLIT_NODES-");
  await waitForUnits("allocatable", POOL_UNITS);
}, INSTALL_TIMEOUT);

/** Sets or removes a variable of the device plugin. */
async function setPlugin(setting: string): Promise<void> {
  const plugin = ["-n", "bitfusion-node", "daemonset/bitfusion-device-plugin"];
  await kubectl("set", "env", ...plugin, setting);
  await kubectl("rollout", "status", ...plugin, "--timeout=120s");
}

async function nodeOf(namespace: string, name: string): Promise<string> {
  return (await get<PodManifest>("pod", name, "-n", namespace)).spec.nodeName ?? "";
}

scenario(
  "pods fill the parts of the nodes, and one more waits unscheduled: no container waits for the pool",
  async (namespace) => {
    await startGpuPods(namespace, { two: { num: 2 }, half: { num: 1, percent: 50 }, rest: { num: 1, percent: 50 } });
    const nodes = await Promise.all(["two", "half", "rest"].map((name) => nodeOf(namespace, name)));
    expect(nodes).toEqual([large, small, small]);
    await apply(sharePod({ namespace, name: "more", num: 1, percent: 50, command: ["sleep", "600"] }));
    await waitForInsufficientUnits(namespace, "more");
    await kubectl("delete", "pod", "half", "-n", namespace);
    await waitForReady(namespace, "more");
    await waitFor("the lease of the waiting pod", async () => {
      return summarizeLeases(await poolEvents(namespace)).granted === 4;
    });
    expect(summarizeLeases(await poolEvents(namespace))).toMatchObject({ maxLeases: 3, maxUnits: 100 });
    for (const name of ["two", "rest", "more"]) {
      expect(await kubectl("logs", name, "-n", namespace)).not.toContain("Waiting for the pool");
    }
  },
);

scenario(
  "a pod with more GPUs than any part has waits unscheduled, although nobody else uses the pool",
  async (namespace) => {
    await apply(sharePod({ namespace, name: "three", num: 3, percent: 100 }));
    await waitForInsufficientUnits(namespace, "three");
  },
);
