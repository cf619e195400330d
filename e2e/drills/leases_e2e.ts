import { expect } from "bun:test";
import { SERVERS } from "../cluster/pool.ts";
import { poolEvents } from "../records/pool_log.ts";
import {
  cudaContainer,
  cudaPod,
  DATA_PLANE_SERVER,
  waitForGpus,
  waitForLeaseEnd,
  waitForProcessEnd,
} from "../steps/cuda.ts";
import { exec } from "../steps/exec.ts";
import {
  apply,
  get,
  kubectl,
  NODE_CAPACITY,
  WORKERS,
  waitFor,
  waitForSuccess,
  waitForUnits,
} from "../steps/kubectl.ts";
import { driverSockets, killPlugin, pluginPod } from "../steps/node_plugin.ts";
import { type PodManifest, sharePod } from "../steps/pods.ts";
import { scenario } from "../steps/scenario.ts";

const [node] = WORKERS;
const [SERVER_A, SERVER_B] = SERVERS.map(({ name }) => name) as [string, string];
const WHOLE_GPU_OF_B = { num: 1, percent: 100, filter: `server.hostname=${SERVER_B}` };
const BOTH_GPUS_OF_A = { num: 2, percent: 100, filter: `server.hostname=${SERVER_A}` };
const KEEP_RUNNING = ["sleep", "3600"];
const OUT_OF_SERVICE = "node.kubernetes.io/out-of-service";

/** Longest time from the end of a pod until the next one runs with its GPU, in ms. The kubelet repeats a failed Prepare after 60 to 90 s. */
const HANDOVER = 10_000;

/** Waits until the pods of an ended one is ready. Returns how long that took, in ms. */
async function timeUntilReady(namespace: string, pod: string): Promise<number> {
  const start = performance.now();
  await kubectl("wait", "-n", namespace, `pod/${pod}`, "--for=condition=Ready", "--timeout=120s");
  return performance.now() - start;
}

/** The worker on which the controller's leader does not run: another leader would need time to take over. */
async function workerWithoutLeader(): Promise<[victim: string, other: string]> {
  const lease = await get<{ spec: { holderIdentity: string } }>(
    "lease",
    "bitfusion-controller",
    "-n",
    "bitfusion-system",
  );
  const [pod = ""] = lease.spec.holderIdentity.split("_");
  const { spec } = await get<PodManifest>("pod", pod, "-n", "bitfusion-system");
  const other = spec.nodeName ?? "";
  return [WORKERS.find((worker) => worker !== other) ?? "", other];
}

scenario(
  "the GPUs of pods on a dead node go to the next pods at once: when a pod is deleted by force, and by the out-of-service taint",
  async (namespace) => {
    const [victim, other] = await workerWithoutLeader();
    const inNamespace = ["-n", namespace];
    const pods = [
      ["forced", WHOLE_GPU_OF_B],
      ["tainted", BOTH_GPUS_OF_A],
    ] as const;
    for (const [name, share] of pods) {
      await apply(sharePod({ namespace, name, ...share, command: KEEP_RUNNING, node: victim }));
      await timeUntilReady(namespace, name);
      await apply(sharePod({ namespace, name: `after-${name}`, ...share, command: KEEP_RUNNING, node: other }));
    }
    await exec(["docker", "kill", victim]);
    try {
      await kubectl("delete", ...inNamespace, "pod/forced", "--force", "--grace-period=0");
      expect(await timeUntilReady(namespace, "after-forced")).toBeLessThan(HANDOVER);
      await kubectl("wait", `node/${victim}`, "--for=condition=Ready=Unknown", "--timeout=120s");
      await kubectl("taint", "node", victim, `${OUT_OF_SERVICE}=nodeshutdown:NoExecute`);
      await kubectl("wait", ...inNamespace, "pod/tainted", "--for=delete", "--timeout=120s");
      expect(await timeUntilReady(namespace, "after-tainted")).toBeLessThan(HANDOVER);
    } finally {
      await exec(["docker", "start", victim]);
      await kubectl("wait", "--for=condition=Ready", `node/${victim}`, "--timeout=120s");
      await kubectl("taint", "node", victim, `${OUT_OF_SERVICE}-`).catch(() => {}); // not set if the scenario failed before
    }
    await waitForUnits("allocatable", NODE_CAPACITY, { nodes: [victim] });
  },
);

/** Time to live of the leases of a pod whose node has gone, in seconds. */
const TIME_TO_LIVE = 30;

/** Makes the server that forwards calls start with a line at the end of its configuration, or as before without one. */
async function restartWith(line = ""): Promise<void> {
  const edit = 'sed -i "/# drill$/d" "$CONFIG_FILE" && if [ "$1" ]; then echo "$1 # drill" >> "$CONFIG_FILE"; fi';
  await exec(["docker", "exec", DATA_PLANE_SERVER, "sh", "-c", edit, "sh", line]);
  await exec(["docker", "restart", DATA_PLANE_SERVER]);
}

scenario(
  "the lease and the data-plane process of a pod end with its node, after the time to live",
  async (namespace) => {
    const [victim] = await workerWithoutLeader();
    await restartWith(`leases: { timeToLive: ${TIME_TO_LIVE}s }`);
    try {
      const containers = [cudaContainer({ num: 1, percent: 100, keeps: true })];
      await apply(cudaPod({ namespace, name: "left", containers, node: victim }));
      await waitForGpus(namespace, "left");
      await exec(["docker", "kill", victim]);
      try {
        await waitForLeaseEnd(namespace, "left", TIME_TO_LIVE + 5);
        await waitForProcessEnd(namespace, "left", 5);
      } finally {
        await exec(["docker", "start", victim]);
        await kubectl("wait", "--for=condition=Ready", `node/${victim}`, "--timeout=120s");
      }
    } finally {
      await restartWith();
    }
    await waitForUnits("allocatable", NODE_CAPACITY, { nodes: [victim] });
  },
);

/** How often the server has read its leases from disk. */
async function startsOfServerB(): Promise<number> {
  return (await exec(["docker", "logs", SERVER_B])).split("\n").filter((line) => line.includes("Leases restored"))
    .length;
}

scenario("a pod keeps its lease while the driver, the kubelet and the pool server restart", async (namespace) => {
  const command = ["sleep", "3600"];
  await apply(sharePod({ namespace, name: "holder", ...WHOLE_GPU_OF_B, command, node }));
  await timeUntilReady(namespace, "holder");
  const before = await driverSockets(node);
  await killPlugin(node);
  await waitFor("the driver", async () => (await driverSockets(node)).some((name) => !before.includes(name)));
  await exec(["docker", "exec", node, "systemctl", "restart", "kubelet"]);
  expect((await poolEvents(namespace)).map(({ message }) => message)).toEqual(["Lease granted"]);
  const starts = await startsOfServerB();
  await exec(["docker", "restart", SERVER_B]);
  await waitFor("the server to start again", async () => (await startsOfServerB()) > starts);
  expect((await poolEvents(namespace)).map(({ message }) => message)).toEqual(["Lease granted"]);
  const { status } = await get<{ status: { phase: string; containerStatuses: { restartCount: number }[] } }>(
    "pod",
    "holder",
    "-n",
    namespace,
  );
  expect([status.phase, ...status.containerStatuses.map(({ restartCount }) => restartCount)]).toEqual(["Running", 0]);
});

scenario(
  "a pod whose pool server its node cannot reach waits, with an event that names the server",
  async (namespace) => {
    const { status } = await get<{ status: { podIP: string } }>("pod", await pluginPod(node), "-n", "bitfusion-node");
    const address = (await exec(["docker", "exec", node, "getent", "ahostsv4", SERVER_B])).split(/\s/)[0] as string;
    const rule = ["FORWARD", "-s", status.podIP, "-d", address, "-j", "DROP"]; // the controller still reaches it
    await exec(["docker", "exec", node, "iptables", "-I", ...rule]);
    try {
      await apply(sharePod({ namespace, name: "waits", ...WHOLE_GPU_OF_B, node }));
      const selector = "--field-selector=involvedObject.name=waits,reason=FailedPrepareDynamicResources";
      await waitFor("the event", async () => {
        const { items } = await get<{ items: { message: string }[] }>("events", "-n", namespace, selector);
        return items.some(({ message }) => message.includes(`${SERVER_B}:56001`));
      });
    } finally {
      await exec(["docker", "exec", node, "iptables", "-D", ...rule]);
    }
    await waitForSuccess(namespace, "waits");
  },
);
