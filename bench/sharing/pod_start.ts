import { install } from "../../e2e/steps/installation.ts";
import { apply, kubectl } from "../../e2e/steps/kubectl.ts";
import { sharePod } from "../../e2e/steps/pods.ts";
import { percentile } from "../common/statistics.ts";

const PODS = 20;

/** Measures the time from a pod's creation until it is ready, one pod at a time: with units only, and with a claim. */
export async function benchPodStart(): Promise<Record<string, string>[]> {
  const rows: Record<string, string>[] = [];
  // In this order: after a change to claims, nodes take no new pods for minutes.
  for (const allocation of ["claims", "units"] as const) {
    await install(allocation);
    const namespace = `bench-${allocation}`;
    await kubectl("create", "namespace", namespace);
    const times: number[] = [];
    for (let index = 0; index < PODS; index++) times.push(await timeToReady(namespace, `pod-${index}`));
    times.shift(); // the webhook copies the token into the namespace for the first pod
    const ms = (fraction: number) => `${percentile(times, fraction).toFixed(0)} ms`;
    rows.push({ "pod created to running": `ALLOCATION=${allocation}`, p50: ms(0.5), p90: ms(0.9) });
  }
  await install("claims");
  return rows;
}

async function timeToReady(namespace: string, name: string): Promise<number> {
  const start = performance.now();
  await apply(sharePod({ namespace, name, num: 1, percent: 5, command: ["sleep", "600"] }));
  await kubectl("wait", "-n", namespace, `pod/${name}`, "--for=condition=Ready", "--timeout=60s");
  const time = performance.now() - start;
  await kubectl("delete", "pod", name, "-n", namespace);
  return time;
}
