import { waitFor } from "../../e2e/steps/kubectl.ts";
import type { KubernetesRequest } from "../../kubernetes/request.ts";
import { type ApiObject, watchObjects } from "../../kubernetes/watch.ts";
import { silentLog } from "../../program/testing.ts";
import { claimTemplateOf } from "../../webhook/claims/claim.ts";

const NAMESPACE = "bench-scheduling";
const PODS = 500;
/** Nodes that exist only as objects: the scheduler binds pods to them, but no kubelet runs. */
const NODES = 5;
/** Interval of the node status updates that stand in for the kubelets' heartbeats, in ms. */
const HEARTBEAT_INTERVAL = 10_000;
/** Concurrent requests that create pods. */
const PARALLEL = 16;

interface Pod extends ApiObject {
  readonly spec: { readonly nodeName?: string };
}

/** Measures the time from the first creation until 500 pods are bound, with 1,000 GPUs: without and with claims. */
export async function benchScheduling(request: KubernetesRequest): Promise<Record<string, string>[]> {
  const template = claimTemplateOf({ gpus: 1, percent: 50 }, { filters: [], gpuMemoryMb: 0 });
  await request("/api/v1/namespaces", { method: "POST", body: { metadata: { name: NAMESPACE } } });
  await request(`/apis/resource.k8s.io/v1/namespaces/${NAMESPACE}/resourceclaimtemplates`, {
    method: "POST",
    body: { metadata: { name: template.name }, spec: { spec: template.spec } },
  });
  // Pods are rejected until the namespace has its service account.
  const account = `/api/v1/namespaces/${NAMESPACE}/serviceaccounts/default`;
  await waitFor("the service account", () => request(account).then(Boolean, () => false));
  await using _nodes = await startNodes(request);
  const claims = { resourceClaims: [{ name: "gpu", resourceClaimTemplateName: template.name }] };
  const without = await schedule(request, "without", {});
  const withClaims = await schedule(request, "with", claims, { claims: [{ name: "gpu" }] });
  const row = (what: string, seconds: number) => ({
    "500 pods": what,
    "all bound after": `${seconds.toFixed(1)} s`,
    "pods/s": (PODS / seconds).toFixed(0),
  });
  return [row("without claims", without), row("with a claim each, 1,000 GPUs in 16 slices", withClaims)];
}

/** Creates the pods and waits until all are bound. Returns the seconds this took. @throws {Error} after ten minutes. */
async function schedule(
  request: KubernetesRequest,
  prefix: string,
  spec: object,
  resources: object = {},
): Promise<number> {
  const path = `/api/v1/namespaces/${NAMESPACE}/pods`;
  const transform = ({ metadata, spec }: Pod) =>
    metadata.name.startsWith(`${prefix}-`) && spec.nodeName ? spec.nodeName : undefined;
  const pods = watchObjects({ request, path, transform, log: silentLog }, AbortSignal.timeout(600_000));
  const bound = (async () => {
    const names = new Set<string>();
    for await (const change of pods) {
      if (change.type === "put") names.add(change.key);
      if (names.size === PODS) return performance.now();
    }
    throw new Error("Not all pods were bound within ten minutes");
  })();
  const start = performance.now();
  let next = 0;
  const create = async () => {
    while (next < PODS) {
      const name = `${prefix}-${next++}`;
      const container = { name: "main", image: "none", resources: { requests: { cpu: "1m" }, ...resources } };
      const body = {
        metadata: { name },
        spec: {
          nodeSelector: { bench: NAMESPACE },
          tolerations: [{ operator: "Exists" }],
          containers: [container],
          ...spec,
        },
      };
      await request(path, { method: "POST", body, timeout: 60_000 });
    }
  };
  await Promise.all(Array.from({ length: PARALLEL }, create));
  return ((await bound) - start) / 1000;
}

/** Creates the nodes and keeps them Ready. Disposal deletes them. */
async function startNodes(request: KubernetesRequest): Promise<AsyncDisposable> {
  const names = Array.from({ length: NODES }, (_, index) => `bench-${index}`);
  const resources = { cpu: "64", memory: "256Gi", pods: "500" };
  for (const name of names) {
    const status = { capacity: resources, allocatable: resources, conditions: [ready()] };
    const body = { metadata: { name, labels: { bench: NAMESPACE, "kubernetes.io/hostname": name } }, status };
    await request("/api/v1/nodes", { method: "POST", body });
  }
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

function ready() {
  const now = new Date().toISOString();
  return { type: "Ready", status: "True", reason: "Bench", lastHeartbeatTime: now, lastTransitionTime: now };
}
