import { get, kubectl, waitFor } from "../../e2e/steps/kubectl.ts";
import { parseMetrics } from "../../e2e/steps/metrics.ts";

const SYSTEM = "bitfusion-system";
const NAMESPACE = ["-n", SYSTEM];
const PODS = ["-l", "app.kubernetes.io/name=bitfusion-controller"];

/** Stops all replicas of the controller. Its ResourceSlices remain. */
export async function stopController(): Promise<void> {
  await scale(0);
  await kubectl("wait", ...NAMESPACE, "pod", ...PODS, "--for=delete", "--timeout=60s");
}

/** Starts two replicas of the controller, and waits until one of them leads. */
export async function startController(): Promise<void> {
  await scale(2);
  await kubectl("rollout", "status", ...NAMESPACE, "deployment/bitfusion-controller", "--timeout=120s");
  await waitFor("a controller to lead", async () => (await sumOfReplicas("bitfusion_controller_leading")) === 1);
}

/** Returns the CPU time that the running replicas have used since their start, in seconds. */
export function controllerCpuTime(): Promise<number> {
  return sumOfReplicas("process_cpu_seconds_total");
}

function scale(replicas: number): Promise<string> {
  return kubectl("scale", ...NAMESPACE, "deployment/bitfusion-controller", `--replicas=${replicas}`);
}

async function sumOfReplicas(metric: string): Promise<number> {
  const { items } = await get<{ items: { metadata: { name: string } }[] }>("pods", ...NAMESPACE, ...PODS);
  const values = items.map(async ({ metadata: { name } }) => {
    const path = `/api/v1/namespaces/${SYSTEM}/pods/${name}:8080/proxy/metrics`;
    return parseMetrics(await kubectl("get", "--raw", path)).get(metric) ?? Number.NaN;
  });
  return (await Promise.all(values)).reduce((sum, value) => sum + value, 0);
}
