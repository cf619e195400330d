import { expect } from "bun:test";
import { POOL_UNITS } from "../cluster/pool.ts";
import { exec } from "../steps/exec.ts";
import { apply, get, kubectl, until, WORKERS, waitForSuccess, waitForUnits } from "../steps/kubectl.ts";
import { heldUnits, killPlugin, pluginMetrics, pluginSockets } from "../steps/node_plugin.ts";
import { pod, share, sharePod } from "../steps/pods.ts";
import { scenario } from "../steps/scenario.ts";

const [node, other] = WORKERS;

/** What `holder` holds, container by container. */
const HELD = { first: 30, second: 50 };

scenario(
  "25 kubelet restarts in a row: units are back after each, and pods that run keep theirs",
  async (namespace) => {
    await startHolder(namespace);
    for (let restart = 0; restart < 25; restart++) {
      const before = await pluginSockets(node);
      await restartKubelet();
      await freshSocket(before);
    }
    await waitForUnits("allocatable", POOL_UNITS, [node]);
    await assertHolderIsUntouched(namespace);
    await apply(sharePod({ namespace, name: "after", num: 1, percent: 50, node }));
    await waitForSuccess(namespace, "after");
  },
);

scenario(
  "a plugin that is killed, alone or with its kubelet, registers again; pods that run keep theirs",
  async (namespace) => {
    await startHolder(namespace);
    for (const alsoKubelet of [false, true]) {
      const before = await pluginSockets(node);
      await Promise.all([killPlugin(node), alsoKubelet ? restartKubelet() : undefined]);
      await freshSocket(before);
      await waitForUnits("allocatable", POOL_UNITS, [node]);
      await assertHolderIsUntouched(namespace);
    }
    expect(await pluginSockets(node)).toHaveLength(1); // what the killed ones left is gone
    await apply(sharePod({ namespace, name: "after", num: 1, percent: 50, node }));
    await waitForSuccess(namespace, "after");
  },
);

scenario(
  "a rolling update of the plugin never lowers allocatable, and pods that run keep theirs",
  async (namespace) => {
    await startHolder(namespace);
    const watch = Bun.spawn(
      ["kubectl", "get", "node", node, "--watch", "-o", "jsonpath={.status.allocatable.bitfusion\\.io/gpu}{'\\n'}"],
      { stdio: ["ignore", "pipe", "inherit"] },
    );
    const seen = new Response(watch.stdout).text();
    try {
      await kubectl("rollout", "restart", "-n", "bitfusion-system", "daemonset/bitfusion-device-plugin");
      await kubectl(
        "rollout",
        "status",
        "-n",
        "bitfusion-system",
        "daemonset/bitfusion-device-plugin",
        "--timeout=120s",
      );
      await apply(sharePod({ namespace, name: "after", num: 1, percent: 50, node }));
      await waitForSuccess(namespace, "after");
      await until("the old instance's end", async () => (await pluginSockets(node)).length === 1);
    } finally {
      watch.kill();
    }
    expect(new Set((await seen).trim().split("\n"))).toEqual(new Set([String(POOL_UNITS)]));
    await assertHolderIsUntouched(namespace);
  },
);

scenario("after a restart of the whole node its units are back, and pods run there", async (namespace) => {
  await exec(["docker", "restart", other]);
  await kubectl("wait", "--for=condition=Ready", `node/${other}`, "--timeout=120s");
  await until("the plugin's registration", async () => {
    const metrics = await pluginMetrics(other).catch(() => undefined); // the node may not be back
    return metrics?.get('bitfusion_device_plugin_registrations_total{result="registered"}') === 1;
  });
  await waitForUnits("allocatable", POOL_UNITS, [other]);
  const manifest = sharePod({ namespace, name: "after", num: 1, percent: 50, node: other });
  await until("a webhook for every call: one replica was on that node", () =>
    apply(manifest).then(Boolean, () => false),
  );
  await waitForSuccess(namespace, "after");
});

scenario(
  "a dead pool server lowers allocatable while capacity stays, and its return restores it",
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

scenario("a pool server that hangs lowers allocatable until it goes on", async () => {
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

scenario("a node that cannot reach a server does not offer its GPUs, and the others do", async () => {
  const address = (await exec(["docker", "exec", node, "getent", "ahostsv4", "bitfusion-pool-b"])).split(
    /\s/,
  )[0] as string;
  const rule = ["FORWARD", "-d", address, "-j", "DROP"];
  await exec(["docker", "exec", node, "iptables", "-I", ...rule]);
  try {
    await waitForUnits("allocatable", POOL_UNITS - 100, [node]);
    await waitForUnits("allocatable", POOL_UNITS, [other]);
  } finally {
    await exec(["docker", "exec", node, "iptables", "-D", ...rule]);
  }
  await waitForUnits("allocatable", POOL_UNITS, [node]);
});

scenario("a device-plugins directory that is made anew on the node is registered in again", async (namespace) => {
  const before = await pluginSockets(node);
  await exec(["docker", "exec", node, "systemctl", "stop", "kubelet"]);
  await exec(["docker", "exec", node, "rm", "-r", "/var/lib/kubelet/device-plugins"]);
  await exec(["docker", "exec", node, "systemctl", "start", "kubelet"]);
  await freshSocket(before);
  await waitForUnits("allocatable", POOL_UNITS, [node]);
  await apply(sharePod({ namespace, name: "after", num: 1, percent: 50, node }));
  await waitForSuccess(namespace, "after");
});

/** Starts a pod with two shares, and waits until it runs and the kubelet says that it holds exactly what it asked for. */
async function startHolder(namespace: string): Promise<void> {
  const command = ["sleep", "3600"];
  const containers = Object.entries(HELD).map(([name, percent]) => ({ name, command, resources: share(1, percent) }));
  await apply(pod({ namespace, name: "holder", mode: "yes", node, containers }));
  await kubectl("wait", "-n", namespace, "pod/holder", "--for=condition=Ready", "--timeout=120s");
  expect(await heldUnits(node, namespace, "holder")).toEqual(HELD);
}

/** Still the same processes, with the same units. */
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
  await until("the restarted kubelet to tell who holds what", async () => Object.keys(await held()).length > 0);
  expect(await held()).toEqual(HELD);
}

async function restartKubelet(): Promise<void> {
  await exec(["docker", "exec", node, "systemctl", "restart", "kubelet"]);
}

async function freshSocket(before: readonly string[]): Promise<void> {
  await until("a fresh socket of the plugin", async () => {
    const names = await pluginSockets(node).catch(() => []); // the kubelet may not have made the directory yet
    return names.some((name) => !before.includes(name));
  });
}
