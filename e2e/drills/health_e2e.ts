import { expect } from "bun:test";
import { SERVERS } from "../cluster/pool.ts";
import { exec } from "../steps/exec.ts";
import { setEnvironment } from "../steps/installation.ts";
import { apply, get, kubectl, WORKERS, waitFor } from "../steps/kubectl.ts";
import { pluginPod } from "../steps/node_plugin.ts";
import { sharePod } from "../steps/pods.ts";
import { scenario } from "../steps/scenario.ts";

const [node] = WORKERS;
const [SERVER_A, SERVER_B] = SERVERS.map(({ name }) => name) as [string, string];
const KEEP_RUNNING = ["sleep", "3600"];
const DRIVER_ACCOUNT = "--as=system:serviceaccount:bitfusion-node:bitfusion-device-plugin";

interface ResourceHealth {
  resourceID: string;
  health: string;
  message?: string;
}

interface Pod {
  status: { containerStatuses: { allocatedResourcesStatus?: { name: string; resources: ResourceHealth[] }[] }[] };
}

interface Claim {
  metadata: { name: string };
  status: {
    allocation?: { devices: { results: { device: string }[] } };
    devices?: { conditions: { type: string; status: string; reason: string; message: string }[]; data: object }[];
  };
}

/** What the pod's status says about its GPUs: health and message. */
async function healthOf(namespace: string, name: string): Promise<string[]> {
  const { status } = await get<Pod>("pod", name, "-n", namespace);
  const resources = status.containerStatuses.flatMap(({ allocatedResourcesStatus = [] }) => allocatedResourcesStatus);
  return resources.flatMap(({ resources }) => resources).map(({ health, message }) => `${health}: ${message}`);
}

/** The only claim of a namespace. */
async function claimIn(namespace: string): Promise<Claim> {
  const { items } = await get<{ items: [Claim] }>("resourceclaims", "-n", namespace);
  return items[0];
}

/** Calls `work` while the node's driver cannot reach these servers. Everybody else can. */
async function withoutPath<T>(servers: readonly string[], work: () => Promise<T>): Promise<T> {
  const { status } = await get<{ status: { podIP: string } }>("pod", await pluginPod(node), "-n", "bitfusion-node");
  await using stack = new AsyncDisposableStack();
  for (const server of servers) {
    const address = (await exec(["docker", "exec", node, "getent", "ahostsv4", server])).split(/\s/)[0] as string;
    const rule = ["FORWARD", "-s", status.podIP, "-d", address, "-j", "DROP"];
    await exec(["docker", "exec", node, "iptables", "-I", ...rule]);
    stack.defer(async () => void (await exec(["docker", "exec", node, "iptables", "-D", ...rule])));
  }
  return await work();
}

scenario(
  "the status and the events of a pod, and the status of its claim, tell that the server of its GPU is away, and that it is back",
  async (namespace) => {
    const filter = `server.hostname=${SERVER_B}`;
    await apply(sharePod({ namespace, name: "holder", num: 1, percent: 30, filter, node, command: KEEP_RUNNING }));
    await kubectl("wait", "-n", namespace, "pod/holder", "--for=condition=Ready", "--timeout=120s");
    const isHealthy = async () =>
      (await healthOf(namespace, "holder")).every((line) => line.startsWith("Healthy: GPU bitfusion-pool-b:"));
    await waitFor("a healthy GPU", isHealthy);
    const hasEvent = (reason: string, part: string) => async () => {
      const selector = `involvedObject.name=holder,reason=${reason}`;
      const { items } = await get<{ items: { message: string }[] }>(
        "events",
        "-n",
        namespace,
        "--field-selector",
        selector,
      );
      return items.some(({ message }) => message.includes(part));
    };
    await waitFor("the event of the GPU", hasEvent("HoldsGPUs", "Holds 30 % of "));
    const hasCondition = (status: string, reason: string) => async () =>
      ((await claimIn(namespace)).status.devices ?? []).some(({ conditions }) =>
        conditions.some((condition) => condition.status === status && condition.reason === reason),
      );
    await waitFor("the state of the lease", hasCondition("True", "LeaseHeld"));
    const [device] = (await claimIn(namespace)).status.devices ?? [];
    expect(device?.data).toMatchObject({ node, server: `${SERVER_B}:56001` });
    await exec(["docker", "kill", SERVER_B]);
    try {
      await waitFor("the unhealthy GPU", async () =>
        (await healthOf(namespace, "holder")).some(
          (line) => line.startsWith("Unhealthy: Cannot renew the lease on GPU") && line.includes(`${SERVER_B}:56001`),
        ),
      );
      await waitFor("the state of the lease", hasCondition("False", "LeaseNotRenewed"));
      await waitFor("the event of the loss", hasEvent("GPUsLost", `${SERVER_B}:56001`));
    } finally {
      await exec(["docker", "start", SERVER_B]);
    }
    await waitFor("a healthy GPU", isHealthy);
    await waitFor("the state of the lease", hasCondition("True", "LeaseHeld"));
    await waitFor("the event of the return", hasEvent("GPUsRecovered", "All GPUs can be used again"));
  },
  { timeout: 400_000 },
);

scenario("the driver may write neither allocations of claims nor what other drivers tell", async (namespace) => {
  await apply(sharePod({ namespace, name: "holder", num: 1, percent: 30, command: KEEP_RUNNING }));
  await kubectl("wait", "-n", namespace, "pod/holder", "--for=condition=Ready", "--timeout=120s");
  const { metadata } = await claimIn(namespace);
  const claim = {
    apiVersion: "resource.k8s.io/v1",
    kind: "ResourceClaim",
    metadata: { name: metadata.name, namespace },
  };
  const write = (status: object) =>
    apply({ ...claim, status }, "--server-side", "--force-conflicts", "--subresource=status", DRIVER_ACCOUNT).catch(
      String,
    );
  const reservedFor = [{ resource: "pods", name: "other", uid: "other" }];
  expect(await write({ reservedFor })).toContain("resourceclaims/binding");
  const devices = [{ driver: "gpu.example", pool: "p", device: "d" }];
  expect(await write({ devices })).toContain("resourceclaims/driver");
});

scenario(
  "a pod that was bound to a GPU whose server then died waits with an event, and is replaced on another GPU",
  async (namespace) => {
    const evictAfter = (setting: string) => setEnvironment("bitfusion-controller", setting);
    const inNamespace = ["-n", namespace];
    const { metadata, spec } = sharePod({ namespace, name: "x", num: 1, percent: 30, node, command: KEEP_RUNNING });
    const template = { metadata: { annotations: metadata.annotations, labels: { app: "x" } }, spec };
    await evictAfter("EVICT_AFTER=5");
    let dead = "";
    try {
      await withoutPath([SERVER_A, SERVER_B], async () => {
        const deployment = { replicas: 1, selector: { matchLabels: { app: "x" } } };
        await apply({
          apiVersion: "apps/v1",
          kind: "Deployment",
          metadata: { name: "x", namespace },
          spec: { ...deployment, template: { ...template, spec: { ...spec, restartPolicy: "Always" } } },
        });
        await waitFor("the event", async () => {
          const selector = "--field-selector=reason=FailedPrepareDynamicResources";
          const { items } = await get<{ items: { message: string }[] }>("events", ...inNamespace, selector);
          return items.some(({ message }) => message.includes(`${SERVER_A}:56001`));
        });
        const [{ device } = { device: "" }] = (await claimIn(namespace)).status.allocation?.devices.results ?? [];
        dead = await serverOf(device);
        await exec(["docker", "kill", dead]);
      });
      await kubectl("wait", ...inNamespace, "deployment/x", "--for=condition=Available", "--timeout=170s");
      const { items } = await get<{ items: Claim[] }>("resourceclaims", ...inNamespace);
      const results = items.flatMap(({ status }) => status.allocation?.devices.results ?? []);
      expect(await Promise.all(results.map(({ device }) => serverOf(device)))).toEqual(
        [SERVER_A, SERVER_B].filter((server) => server !== dead),
      );
    } finally {
      if (dead) await exec(["docker", "start", dead]);
      await evictAfter("EVICT_AFTER-");
    }
  },
  { timeout: 400_000 },
);

interface Slice {
  spec: { devices?: { name: string; attributes: { hostname?: { string: string } } }[] };
}

/** The name of the server that has a device. */
async function serverOf(device: string): Promise<string> {
  const { items } = await get<{ items: Slice[] }>("resourceslices");
  const found = items.flatMap(({ spec }) => spec.devices ?? []).find(({ name }) => name === device);
  return found?.attributes.hostname?.string ?? "";
}
