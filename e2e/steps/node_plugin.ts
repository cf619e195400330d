import { exec } from "./exec.ts";
import { get, kubectl } from "./kubectl.ts";

const NAMESPACE = "bitfusion-system";

/** Name of the plugin's pod on a node. Of two, in a rolling update, the newer. */
async function pluginPod(node: string): Promise<string> {
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

/** The plugin's metrics on a node, through the API server: value by name and labels, as Prometheus' text says them. */
export async function pluginMetrics(node: string): Promise<ReadonlyMap<string, number>> {
  const path = `/api/v1/namespaces/${NAMESPACE}/pods/${await pluginPod(node)}:8080/proxy/metrics`;
  const lines = (await kubectl("get", "--raw", path)).split("\n").filter((line) => line && !line.startsWith("#"));
  return new Map(
    lines.map((line) => {
      const space = line.lastIndexOf(" ");
      return [line.slice(0, space), Number(line.slice(space + 1))];
    }),
  );
}

/** The units that each container of a pod holds, by its name: what the kubelet's PodResourcesLister says. */
export async function heldUnits(node: string, namespace: string, pod: string): Promise<Record<string, number>> {
  const held: Record<string, number> = {};
  for (const [series, units] of await pluginMetrics(node)) {
    const labels = /^bitfusion_device_plugin_held_units\{namespace="(.*)",pod="(.*)",container="(.*)"\}$/.exec(series);
    if (labels?.[1] === namespace && labels[2] === pod && labels[3]) held[labels[3]] = units;
  }
  return held;
}

/** The plugin's sockets on a node: each registration is on one of its own. */
export async function pluginSockets(node: string): Promise<string[]> {
  const names = await exec(["docker", "exec", node, "ls", "/var/lib/kubelet/device-plugins"]);
  return names.split("\n").filter((name) => name.startsWith("bitfusion.io-"));
}

/** Ends the plugin on a node as a crash does; the kubelet starts it again. */
export async function killPlugin(node: string): Promise<void> {
  await exec(["docker", "exec", node, "pkill", "-KILL", "-x", "device-plugin"]);
}
