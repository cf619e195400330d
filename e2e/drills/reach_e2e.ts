import { afterAll, expect } from "bun:test";
import { setEnvironment, setNodeEnvironment } from "../steps/installation.ts";
import { apply, get, kubectl, WORKERS, waitFor, waitForSuccess } from "../steps/kubectl.ts";
import { pluginMetrics } from "../steps/node_plugin.ts";
import { pod, share, sharePod } from "../steps/pods.ts";
import { scenario } from "../steps/scenario.ts";

const ZONE = "topology.kubernetes.io/zone";
const [NODE_A, NODE_B] = WORKERS;

async function setServers(...servers: string[]): Promise<void> {
  await setEnvironment("bitfusion-controller", `POOL_SERVERS=${servers.join(",")}`);
}

interface PodPlace {
  spec: { nodeName?: string };
}

async function nodeOf(namespace: string, name: string): Promise<string | undefined> {
  return (await get<PodPlace>("pod", name, "-n", namespace)).spec.nodeName;
}

/** Waits until the slices say which zone reaches how many GPUs. */
async function waitForReach(expected: Record<string, number>): Promise<void> {
  interface Slice {
    spec: { nodeSelector?: object; devices: { nodeSelector?: object }[] };
  }
  await waitFor(`slices with ${JSON.stringify(expected)}`, async () => {
    const { items } = await get<{ items: Slice[] }>("resourceslices");
    const zones = items.flatMap(({ spec }) =>
      spec.devices.map((device) => {
        const [, zone = "any"] =
          /"values":\["(\w+)"\]/.exec(JSON.stringify(device.nodeSelector ?? spec.nodeSelector)) ?? [];
        return zone;
      }),
    );
    return Object.entries(expected).every(([zone, count]) => zones.filter((each) => each === zone).length === count);
  });
}

afterAll(async () => {
  await setEnvironment("bitfusion-controller", "POOL_SERVERS-");
  await kubectl("label", "node", ...WORKERS, `${ZONE}-`);
  await waitForReach({ any: 3 });
});

scenario(
  "a pod runs where it reaches its GPUs, and waits where it would not",
  async (namespace) => {
    await kubectl("label", "node", NODE_A, `${ZONE}=a`);
    await kubectl("label", "node", NODE_B, `${ZONE}=b`);
    await setServers(`bitfusion-pool-a:56001 ${ZONE}=a`, `bitfusion-pool-b:56001 ${ZONE}=b`);
    await waitForReach({ a: 2, b: 1 });

    const names = ["one", "two", "three"];
    for (const name of names) {
      await apply(sharePod({ namespace, name, num: 1, percent: 50, filter: "server.hostname=bitfusion-pool-b" }));
      await waitForSuccess(namespace, name);
    }
    expect(await Promise.all(names.map((name) => nodeOf(namespace, name)))).toEqual([NODE_B, NODE_B, NODE_B]);
    await apply(sharePod({ namespace, name: "pair", num: 2, percent: 100 })); // only pool-a has two GPUs
    await waitForSuccess(namespace, "pair");
    expect(await nodeOf(namespace, "pair")).toBe(NODE_A);

    const containers = [{ name: "main", command: ["printenv", "BITFUSION_GPUS"], resources: share(2, 100) }];
    const elsewhere = pod({ namespace, name: "elsewhere", mode: "yes", containers });
    await apply({ ...elsewhere, spec: { ...elsewhere.spec, nodeSelector: { [ZONE]: "b" } } });
    const reason = "the pool has only 1; the nodes that the pod selects reach only 1 of the pool's 3 GPUs";
    await waitFor("the events", async () => {
      const description = await kubectl("describe", "pod", "elsewhere", "-n", namespace);
      return description.includes(reason) && description.includes("FailedScheduling");
    });
    await setServers("bitfusion-pool-a:56001", `bitfusion-pool-b:56001 ${ZONE}=b`); // now all nodes reach it
    await waitForSuccess(namespace, "elsewhere");
    expect(await nodeOf(namespace, "elsewhere")).toBe(NODE_B);
  },
  { timeout: 300_000 },
);

/** The servers whose round trip a node has measured and shows. */
async function measuredServers(node: string): Promise<string[]> {
  return [...(await pluginMetrics(node))].flatMap(([series, count]) => {
    const [, server] = /^bitfusion_pool_round_trip_seconds_count\{server="(.*)"\}$/.exec(series) ?? [];
    return server !== undefined && count > 0 ? server : [];
  });
}

scenario(
  "a node measures the path to the servers of its leases only, and a pod whose path is slow gets an event",
  async (namespace) => {
    const inNamespace = ["-n", namespace];
    const server = "bitfusion-pool-b:56001";
    const filter = "server.hostname=bitfusion-pool-b";
    const command = ["sleep", "3600"];
    await setNodeEnvironment("SLOW_ROUND_TRIP=0.001"); // no path is that fast
    try {
      await apply(sharePod({ namespace, name: "holder", num: 1, percent: 30, filter, node: NODE_B, command }));
      await kubectl("wait", ...inNamespace, "pod/holder", "--for=condition=Ready", "--timeout=120s");
      const selector = "--field-selector=involvedObject.name=holder,reason=SlowRoundTrip";
      const events = async () =>
        (await get<{ items: { count: number; message: string }[] }>("events", ...inNamespace, selector)).items;
      await waitFor("the event", async () => (await events()).length > 0);
      expect((await events()).map(({ count }) => count)).toEqual([1]);
      expect((await events())[0]?.message).toMatch(
        /^The round trip to pool server bitfusion-pool-b:56001 takes [\d.]+ ms, more than the 0.001 ms of SLOW_ROUND_TRIP: /,
      );
      expect(await measuredServers(NODE_B)).toEqual([server]);
      expect(await measuredServers(NODE_A)).toEqual([]);
      await kubectl("delete", ...inNamespace, "pod/holder", "--now");
      await waitFor("the end of the measurements", async () => (await measuredServers(NODE_B)).length === 0);
    } finally {
      await setNodeEnvironment("SLOW_ROUND_TRIP-");
    }
  },
  { timeout: 400_000 },
);
