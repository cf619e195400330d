import { expect } from "bun:test";
import { poolEvents, summarizeLeases } from "../records/pool_log.ts";
import { exec } from "../steps/exec.ts";
import { kubectl, WORKERS, waitFor } from "../steps/kubectl.ts";
import { loadStatus, startLoad } from "../steps/load.ts";
import { killPlugin } from "../steps/node_plugin.ts";
import { scenario } from "../steps/scenario.ts";

/** The server of the pool with two GPUs. */
const SERVER_A = "server.hostname=bitfusion-pool-a";
const CONTROLLER = "app.kubernetes.io/name=bitfusion-controller";

scenario(
  "40 pods of 50 percent on two GPUs all complete, at most four at a time, while programs restart",
  async (namespace) => {
    await startLoad(namespace, { count: 40, command: ["sleep", "1"], filter: SERVER_A });
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

async function completedPods(namespace: string): Promise<number> {
  return (await loadStatus(namespace)).succeeded ?? 0;
}
