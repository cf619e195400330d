// The device plugin, which runs without claims.
import { beforeAll, expect } from "bun:test";
import { POOL_UNITS } from "../cluster/pool.ts";
import { exec } from "../steps/exec.ts";
import { INSTALL_TIMEOUT, install } from "../steps/installation.ts";
import { apply, get, kubectl, WORKERS, waitFor, waitForSuccess, waitForUnits } from "../steps/kubectl.ts";
import {
  heldUnits,
  killPlugin,
  pluginMetrics,
  pluginSockets,
  restartKubelet,
  waitForNewSocket,
} from "../steps/node_plugin.ts";
import { pod, share, sharePod } from "../steps/pods.ts";
import { scenario } from "../steps/scenario.ts";

const [node, otherNode] = WORKERS;

/** Units that each container of the pod `holder` holds. */
const HELD = { first: 30, second: 50 };

beforeAll(() => install("units"), INSTALL_TIMEOUT);

scenario(
  "the plugin re-registers after each of 25 kubelet restarts, and running pods keep their units",
  async (namespace) => {
    await startHolder(namespace);
    for (let restart = 0; restart < 25; restart++) {
      const before = await pluginSockets(node);
      await restartKubelet(node);
      await waitForNewSocket(node, before);
    }
    await waitForUnits("allocatable", POOL_UNITS, { nodes: [node] });
    await assertHolderIsUntouched(namespace);
    await apply(sharePod({ namespace, name: "after", num: 1, percent: 50, node }));
    await waitForSuccess(namespace, "after");
  },
);

scenario(
  "the plugin re-registers after a kill, with or without a kubelet restart, and running pods keep their units",
  async (namespace) => {
    await startHolder(namespace);
    for (const alsoKubelet of [false, true]) {
      const before = await pluginSockets(node);
      await Promise.all([killPlugin(node), alsoKubelet ? restartKubelet(node) : undefined]);
      await waitForNewSocket(node, before);
      await waitForUnits("allocatable", POOL_UNITS, { nodes: [node] });
      await assertHolderIsUntouched(namespace);
    }
    expect(await pluginSockets(node)).toHaveLength(1); // those of the killed plugins are removed
    await apply(sharePod({ namespace, name: "after", num: 1, percent: 50, node }));
    await waitForSuccess(namespace, "after");
  },
);

scenario(
  "a rolling update of the plugin never lowers allocatable, and running pods keep their units",
  async (namespace) => {
    await startHolder(namespace);
    const watch = Bun.spawn(
      ["kubectl", "get", "node", node, "--watch", "-o", "jsonpath={.status.allocatable.bitfusion\\.io/gpu}{'\\n'}"],
      { stdio: ["ignore", "pipe", "inherit"] },
    );
    const values = new Response(watch.stdout).text();
    try {
      await kubectl("rollout", "restart", "-n", "bitfusion-node", "daemonset/bitfusion-device-plugin");
      await kubectl("rollout", "status", "-n", "bitfusion-node", "daemonset/bitfusion-device-plugin", "--timeout=120s");
      await apply(sharePod({ namespace, name: "after", num: 1, percent: 50, node }));
      await waitForSuccess(namespace, "after");
      await waitFor("the old instance to end", async () => (await pluginSockets(node)).length === 1);
    } finally {
      watch.kill();
    }
    expect(new Set((await values).trim().split("\n"))).toEqual(new Set([String(POOL_UNITS)]));
    await assertHolderIsUntouched(namespace);
  },
);

scenario("after a node restart the node's units are allocatable again, and pods run there", async (namespace) => {
  await exec(["docker", "restart", otherNode]);
  await kubectl("wait", "--for=condition=Ready", `node/${otherNode}`, "--timeout=120s");
  await waitFor("the plugin's registration", async () => {
    const metrics = await pluginMetrics(otherNode).catch(() => undefined); // the node may still be down
    return metrics?.get('bitfusion_device_plugin_registrations_total{result="registered"}') === 1;
  });
  await waitForUnits("allocatable", POOL_UNITS, { nodes: [otherNode] });
  const manifest = sharePod({ namespace, name: "after", num: 1, percent: 50, node: otherNode });
  await waitFor("every webhook replica to respond: one was on that node", () =>
    apply(manifest).then(Boolean, () => false),
  );
  await waitForSuccess(namespace, "after");
});

scenario(
  "a killed pool server lowers allocatable but not capacity, and its restart restores allocatable",
  async (namespace) => {
    await exec(["docker", "kill", "bitfusion-pool-b"]);
    try {
      await waitForUnits("allocatable", POOL_UNITS - 100);
      await waitForUnits("capacity", POOL_UNITS);
      await apply(sharePod({ namespace, name: "meanwhile", num: 1, percent: 100 }));
      await waitForSuccess(namespace, "meanwhile");
    } finally {
      await exec(["docker", "start", "bitfusion-pool-b"]);
    }
    await waitForUnits("allocatable", POOL_UNITS);
  },
);

scenario("a pool server that hangs lowers allocatable until it resumes", async () => {
  await exec(["docker", "pause", "bitfusion-pool-b"]);
  try {
    await waitForUnits("allocatable", POOL_UNITS - 100);
    await waitForUnits("capacity", POOL_UNITS);
    const metrics = await pluginMetrics(node);
    const unhealthy = 'bitfusion_device_plugin_units{server="bitfusion-pool-b:56001",health="unhealthy"}';
    expect(metrics.get(unhealthy)).toBe(100);
  } finally {
    await exec(["docker", "unpause", "bitfusion-pool-b"]);
  }
  await waitForUnits("allocatable", POOL_UNITS);
});

scenario("a pool server that one node cannot reach lowers allocatable on that node only", async () => {
  const address = (await exec(["docker", "exec", node, "getent", "ahostsv4", "bitfusion-pool-b"])).split(
    /\s/,
  )[0] as string;
  const rule = ["FORWARD", "-d", address, "-j", "DROP"];
  await exec(["docker", "exec", node, "iptables", "-I", ...rule]);
  try {
    await waitForUnits("allocatable", POOL_UNITS - 100, { nodes: [node] });
    await waitForUnits("allocatable", POOL_UNITS, { nodes: [otherNode] });
  } finally {
    await exec(["docker", "exec", node, "iptables", "-D", ...rule]);
  }
  await waitForUnits("allocatable", POOL_UNITS, { nodes: [node] });
});

scenario("the plugin re-registers when the device-plugins directory is recreated", async (namespace) => {
  const before = await pluginSockets(node);
  await exec(["docker", "exec", node, "systemctl", "stop", "kubelet"]);
  await exec(["docker", "exec", node, "rm", "-r", "/var/lib/kubelet/device-plugins"]);
  await exec(["docker", "exec", node, "systemctl", "start", "kubelet"]);
  await waitForNewSocket(node, before);
  await waitForUnits("allocatable", POOL_UNITS, { nodes: [node] });
  await apply(sharePod({ namespace, name: "after", num: 1, percent: 50, node }));
  await waitForSuccess(namespace, "after");
});

/** Starts a pod with two shares, and waits until it is ready. Expects the kubelet to report exactly these units. */
async function startHolder(namespace: string): Promise<void> {
  const command = ["sleep", "3600"];
  const containers = Object.entries(HELD).map(([name, percent]) => ({ name, command, resources: share(1, percent) }));
  await apply(pod({ namespace, name: "holder", mode: "yes", node, containers }));
  await kubectl("wait", "-n", namespace, "pod/holder", "--for=condition=Ready", "--timeout=120s");
  expect(await heldUnits(node, namespace, "holder")).toEqual(HELD);
}

/** Expects that the same containers still run and hold the same units. */
async function assertHolderIsUntouched(namespace: string): Promise<void> {
  const { status } = await get<{ status: { phase: string; containerStatuses: { restartCount: number }[] } }>(
    "pod",
    "holder",
    "-n",
    namespace,
  );
  expect(status.phase).toBe("Running");
  expect(status.containerStatuses.map(({ restartCount }) => restartCount)).toEqual([0, 0]);
  const held = () => heldUnits(node, namespace, "holder");
  await waitFor("the restarted kubelet to report the held units", async () => Object.keys(await held()).length > 0);
  expect(await held()).toEqual(HELD);
}
