import { apply, kubectl } from "../../e2e/steps/kubectl.ts";
import { sharePod } from "../../e2e/steps/pods.ts";
import { setEnvironment } from "../../e2e/steps/set_environment.ts";
import { percentile } from "../common/statistics.ts";

const PODS = 20;

/** From a pod's creation until its container runs, one after the other: with a claim, and with units alone. */
export async function benchPodStart(): Promise<Record<string, string>[]> {
  const rows: Record<string, string>[] = [];
  for (const allocation of ["units", "claims"]) {
    await setEnvironment("bitfusion-webhook", `ALLOCATION=${allocation}`);
    const namespace = `bench-${allocation}`;
    await kubectl("create", "namespace", namespace);
    const times: number[] = [];
    for (let index = 0; index < PODS; index++) times.push(await timeToReady(namespace, `pod-${index}`));
    times.shift(); // the namespace's tokens and template are made for it
    const ms = (fraction: number) => `${percentile(times, fraction).toFixed(0)} ms`;
    rows.push({ "pod created to running": `ALLOCATION=${allocation}`, p50: ms(0.5), p90: ms(0.9) });
  }
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
