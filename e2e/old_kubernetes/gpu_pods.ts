import { leasesOf } from "../records/pool_log.ts";
import { apply, kubectl, waitFor } from "../steps/kubectl.ts";
import { pod } from "../steps/pods.ts";

/** The GPUs that a pod requests. */
export interface GpuRequest {
  num: number;
  /** Whole GPUs if absent. */
  percent?: number;
  /** The node to run on; any node if absent. */
  node?: string;
}

/** Starts pods, one after the other, that hold GPUs until they are deleted. Waits until each has its lease. */
export async function startGpuPods(namespace: string, requests: Readonly<Record<string, GpuRequest>>): Promise<void> {
  for (const [name, { num, percent, node }] of Object.entries(requests)) {
    const limits = { "bitfusion.io/gpu-num": num, ...(percent ? { "bitfusion.io/gpu-percent": percent } : {}) };
    const containers = [{ name: "main", command: ["sleep", "600"], resources: { limits } }];
    await apply(pod({ namespace, name, mode: "yes", containers, ...(node ? { node } : {}) }));
    await waitForReady(namespace, name);
    await waitFor(`the lease of ${name}`, async () => (await leasesOf(namespace, name)).length > 0);
  }
}

/** Waits until a pod runs. @throws {ExecError} after two minutes. */
export async function waitForReady(namespace: string, name: string): Promise<void> {
  await kubectl("wait", "-n", namespace, `pod/${name}`, "--for=condition=Ready", "--timeout=120s");
}

/** Waits until the scheduler has said that no node has enough units for a pod. */
export async function waitForInsufficientUnits(namespace: string, name: string): Promise<void> {
  await waitFor(`the Event of ${name}`, async () => {
    const events = await kubectl("events", "-n", namespace, "--for", `pod/${name}`);
    return events.includes("FailedScheduling") && events.includes("Insufficient bitfusion.io/gpu");
  });
}
