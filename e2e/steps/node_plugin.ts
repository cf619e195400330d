import { exec } from "./exec.ts";
import { get, kubectl, waitFor } from "./kubectl.ts";
import { parseMetrics } from "./metrics.ts";

const NAMESPACE = "bitfusion-node";

/** Returns the name of the plugin's pod on a node: during a rolling update, the newer one. */
export async function pluginPod(node: string): Promise<string> {
  const { items } = await get<{ items: { metadata: { name: string } }[] }>(
    "pods",
    "-n",
    NAMESPACE,
    "-l",
    "app.kubernetes.io/name=bitfusion-device-plugin",
    `--field-selector=spec.nodeName=${node}`,
    "--sort-by=.metadata.creationTimestamp",
  );
  const name = items.at(-1)?.metadata.name;
  if (!name) throw new Error(`No plugin runs on ${node}`);
  return name;
}

/** Reads a node's plugin metrics through the API server. Keys are name and labels, as in the Prometheus text format. */
export async function pluginMetrics(node: string): Promise<ReadonlyMap<string, number>> {
  const path = `/api/v1/namespaces/${NAMESPACE}/pods/${await pluginPod(node)}:8080/proxy/metrics`;
  return parseMetrics(await kubectl("get", "--raw", path));
}

/** Returns the units that a pod holds, by container name, as the kubelet's PodResourcesLister reports them. */
export async function heldUnits(node: string, namespace: string, pod: string): Promise<Record<string, number>> {
  const held: Record<string, number> = {};
  for (const [series, units] of await pluginMetrics(node)) {
    const labels = /^bitfusion_device_plugin_held_units\{namespace="(.*)",pod="(.*)",container="(.*)"\}$/.exec(series);
    if (labels?.[1] === namespace && labels[2] === pod && labels[3]) held[labels[3]] = units;
  }
  return held;
}

/** Returns the names of the device plugin's sockets on a node. Each registration uses a new socket. */
export function pluginSockets(node: string): Promise<string[]> {
  return socketsIn(node, "/var/lib/kubelet/device-plugins");
}

/** Returns the names of the sockets on a node by which the kubelet finds the driver. Each registration uses a new socket. */
export function driverSockets(node: string): Promise<string[]> {
  return socketsIn(node, "/var/lib/kubelet/plugins_registry");
}

async function socketsIn(node: string, directory: string): Promise<string[]> {
  const names = await exec(["docker", "exec", node, "ls", directory]);
  return names.split("\n").filter((name) => name.startsWith("bitfusion.io-"));
}

/** Restarts the kubelet of a node. Does not wait until it is ready. */
export async function restartKubelet(node: string): Promise<void> {
  await exec(["docker", "exec", node, "systemctl", "restart", "kubelet"]);
}

/** Waits until the device plugin on a node listens on a socket that is not in `before`. */
export async function waitForNewSocket(node: string, before: readonly string[]): Promise<void> {
  await waitFor("a new socket of the plugin", async () => {
    const names = await pluginSockets(node).catch(() => []); // the kubelet may not have created the directory yet
    return names.some((name) => !before.includes(name));
  });
}

/** Kills the device plugin and the driver on a node, like a crash. The kubelet restarts it. */
export async function killPlugin(node: string): Promise<void> {
  await exec(["docker", "exec", node, "pkill", "-KILL", "-x", "device-plugin"]);
}
