import { expect } from "bun:test";
import { POOL_UNITS } from "../cluster/pool.ts";
import { exec } from "../steps/exec.ts";
import { apply, get, kubectl, WORKERS, waitFor } from "../steps/kubectl.ts";
import { killPlugin } from "../steps/node_plugin.ts";
import { sharePod } from "../steps/pods.ts";
import { poolEvents, summarizeLeases } from "../steps/pool_log.ts";
import { scenario } from "../steps/scenario.ts";
import { setEnvironment } from "../steps/set_environment.ts";

/** The server of the pool with two GPUs. */
const SERVER_A = "server.hostname=bitfusion-pool-a";
const CONTROLLER = "app.kubernetes.io/name=bitfusion-controller";
const KEEP_RUNNING = ["sleep", "600"];

scenario(
  "40 pods of 50 percent on two GPUs all complete, at most four at a time, while programs restart",
  async (namespace) => {
    await startLoad(namespace, { count: 40, command: ["sleep", "1"] });
    const [first, second] = WORKERS;
    for (const kill of [
      () => kubectl("delete", "pods", "-n", "bitfusion-system", "-l", CONTROLLER, "--grace-period=0", "--force"),
      () => killPlugin(first),
      () => exec(["docker", "exec", second, "systemctl", "restart", "kubelet"]),
      () => Promise.all([killPlugin(second), exec(["docker", "exec", first, "systemctl", "restart", "kubelet"])]),
    ]) {
      const done = await completedPods(namespace);
      await kill();
      await waitFor("more pods to complete", async () => (await completedPods(namespace)) >= Math.min(done + 4, 40));
    }
    await kubectl("wait", "-n", namespace, "job/load", "--for=condition=Complete", "--timeout=170s");
    const summary = summarizeLeases(await poolEvents(namespace));
    console.log("exact:", summary);
    expect(summary.refused).toBe(0);
    expect(summary.maxLeases).toBeLessThanOrEqual(4);
    expect(summary.maxUnits).toBeLessThanOrEqual(100);
    expect(summary.granted).toBeGreaterThanOrEqual(40);
    await waitFor("the CDI files of the claims to be removed", async () => {
      const files = await Promise.all(WORKERS.map((node) => exec(["docker", "exec", node, "ls", "/var/run/cdi"])));
      return files.join("") === "";
    });
  },
);

scenario(
  "with ALLOCATION=units the same load runs twelve pods where four fit, and eight wait in their container",
  async (namespace) => {
    const allocation = async (setting: string) => {
      for (const deployment of ["bitfusion-webhook", "bitfusion-controller"]) await setEnvironment(deployment, setting);
    };
    await allocation("ALLOCATION=units");
    try {
      await waitFor("the published GPUs to be removed", async () => (await publishedGpus()).length === 0);
      await startLoad(namespace, { count: 40, command: KEEP_RUNNING });
      await waitFor("each node to run as many pods as the pool's three GPUs hold", async () => {
        return (await loadStatus(namespace)).ready === 12;
      });
      const secret = await get<{ data: object }>("secret", "bitfusion-secret", "-n", namespace);
      expect(Object.keys(secret.data).toSorted()).toEqual(["ca.crt", "client.yaml", "servers.conf"]);
      await waitFor("the pool to refuse the claims that exceed two GPUs", async () => {
        const events = await poolEvents(namespace);
        const refused = events.filter(({ message }) => message === "Claim refused").map(({ owner }) => owner.pod);
        // More may not fit: each is in a running container, which uses memory of its node.
        return summarizeLeases(events).granted >= 4 && new Set(refused).size >= 8;
      });
      const summary = summarizeLeases(await poolEvents(namespace));
      console.log("units:", summary);
      expect(summary).toMatchObject({ granted: 4, maxLeases: 4, maxUnits: 100 }); // the pool servers never exceed a GPU
    } finally {
      await allocation("ALLOCATION-");
    }
    await waitFor("the GPUs to be published again", async () => (await publishedGpus()).length === POOL_UNITS / 100);
  },
);

async function publishedGpus(): Promise<object[]> {
  const { items } = await get<{ items: { spec: { devices?: object[] } }[] }>("resourceslices");
  return items.flatMap(({ spec }) => spec.devices ?? []);
}

/**
 * Pods that may fail: the kubelet fails those that it starts while it restarts, and rejects those that are bound to its node while the device
 * plugin is away. The Job replaces them.
 */
const BACKOFF_LIMIT = 20;

/** Creates a Job of `count` parallel pods, each with 50 percent of a GPU of server A. */
async function startLoad(namespace: string, { count, command }: { count: number; command: string[] }): Promise<void> {
  const { metadata, spec } = sharePod({ namespace, name: "load", num: 1, percent: 50, filter: SERVER_A, command });
  const template = { metadata: { annotations: metadata.annotations }, spec };
  await apply({
    apiVersion: "batch/v1",
    kind: "Job",
    metadata: { name: "load", namespace },
    spec: { completions: count, parallelism: count, backoffLimit: BACKOFF_LIMIT, template },
  });
}

async function completedPods(namespace: string): Promise<number> {
  return (await loadStatus(namespace)).succeeded ?? 0;
}

async function loadStatus(namespace: string): Promise<{ succeeded?: number; ready?: number }> {
  return (await get<{ status: { succeeded?: number; ready?: number } }>("job", "load", "-n", namespace)).status;
}
