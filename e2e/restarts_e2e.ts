import { exec } from "./exec.ts";
import { apply, until, WORKERS, waitForSuccess, waitForUnits } from "./kubectl.ts";
import { sharePod } from "./pods.ts";
import { POOL_UNITS } from "./pool.ts";
import { scenario } from "./scenario.ts";

scenario("after a kubelet restart the plugin registers again, and another pod runs there", async (namespace) => {
  const [node] = WORKERS;
  const before = await pluginSockets(node);
  await exec(["docker", "exec", node, "systemctl", "restart", "kubelet"]);
  await until("a fresh socket of the plugin", async () =>
    (await pluginSockets(node)).some((name) => !before.includes(name)),
  );
  await waitForUnits("allocatable", POOL_UNITS, [node]);
  await apply(sharePod({ namespace, name: "after", num: 1, percent: 50, node }));
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

/** Each registration is on a socket of its own. */
async function pluginSockets(node: string): Promise<string[]> {
  const names = await exec(["docker", "exec", node, "ls", "/var/lib/kubelet/device-plugins"]);
  return names.split("\n").filter((name) => name.startsWith("bitfusion.io-"));
}
