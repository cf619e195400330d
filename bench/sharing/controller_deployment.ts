import { kubectl } from "../../e2e/steps/kubectl.ts";

const NAMESPACE = ["-n", "bitfusion-system"];

/** Sets the number of controller replicas, and waits until that many run. With 0 replicas the ResourceSlices remain. */
export async function scaleController(replicas: number): Promise<void> {
  await kubectl("scale", ...NAMESPACE, "deployment/bitfusion-controller", `--replicas=${replicas}`);
  if (replicas > 0) {
    await kubectl("rollout", "status", ...NAMESPACE, "deployment/bitfusion-controller", "--timeout=60s");
    return;
  }
  const pods = ["-l", "app.kubernetes.io/name=bitfusion-controller"];
  await kubectl("wait", ...NAMESPACE, "pod", ...pods, "--for=delete", "--timeout=60s");
}
