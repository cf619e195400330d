import { waitFor } from "../../e2e/steps/kubectl.ts";
import { type Pod, podPath } from "../../kubernetes/objects/pod.ts";
import type { KubernetesRequest } from "../../kubernetes/request.ts";

export interface FakeNodesOptions {
  request: KubernetesRequest;
  count: number;
  labels: Readonly<Record<string, string>>;
}

/** Interval of the node status updates that stand in for the kubelets' heartbeats, in ms. */
const HEARTBEAT_INTERVAL = 10_000;

/** Keeps pods away that need a kubelet. */
const TAINT = { key: "bench", effect: "NoSchedule" };

/**
 * Creates nodes that exist only as objects, and keeps them Ready, with a Ready driver: the scheduler binds pods to them, but no kubelet
 * runs. Disposal deletes them.
 */
export async function startFakeNodes({ request, count, labels }: FakeNodesOptions): Promise<AsyncDisposable> {
  const names = Array.from({ length: count }, (_, index) => `bench-${index}`);
  const resources = {
    cpu: "64",
    memory: "256Gi",
    "ephemeral-storage": "100Gi", // for the logs of the DaemonSet
    pods: "500",
    "bitfusion.io/gpu": "1000000",
  };
  for (const name of names) {
    const status = { capacity: resources, allocatable: resources, conditions: [ready()] };
    const metadata = { name, labels: { ...labels, "kubernetes.io/hostname": name } };
    const body = { metadata, spec: { taints: [TAINT] }, status };
    await request("/api/v1/nodes", { method: "POST", body });
  }
  await waitFor("the driver's pods on the nodes", async () => {
    const drivers = await listDrivers(request, names);
    for (const pod of drivers) await markReady(request, pod);
    return drivers.length === count;
  });
  const sendHeartbeats = async () => {
    for (const name of names) {
      const node = (await (await request(`/api/v1/nodes/${name}`)).json()) as { status: object };
      const body = { ...node, status: { ...node.status, conditions: [ready()] } };
      // A conflict does not matter: the next heartbeat follows.
      await request(`/api/v1/nodes/${name}/status`, { method: "PUT", body }).catch(() => {});
    }
  };
  const timer = setInterval(() => void sendHeartbeats(), HEARTBEAT_INTERVAL);
  return {
    async [Symbol.asyncDispose]() {
      clearInterval(timer);
      for (const name of names) await request(`/api/v1/nodes/${name}`, { method: "DELETE" });
    },
  };
}

async function listDrivers(request: KubernetesRequest, nodes: readonly string[]): Promise<Pod[]> {
  const query = { labelSelector: "app.kubernetes.io/name=bitfusion-device-plugin" };
  const { items } = (await (await request("/api/v1/namespaces/bitfusion-node/pods", { query })).json()) as {
    items: Pod[];
  };
  return items.filter(({ spec: { nodeName = "" } }) => nodes.includes(nodeName));
}

/** Says in a kubelet's place that a pod is Ready. */
async function markReady(request: KubernetesRequest, pod: Pod): Promise<void> {
  const body = { status: { conditions: [{ type: "Ready", status: "True" }] } };
  const contentType = "application/strategic-merge-patch+json";
  await request(`${podPath(pod)}/status`, { method: "PATCH", contentType, body });
}

function ready() {
  const now = new Date().toISOString();
  return { type: "Ready", status: "True", reason: "Bench", lastHeartbeatTime: now, lastTransitionTime: now };
}
