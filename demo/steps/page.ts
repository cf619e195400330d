import { setTimeout as sleep } from "node:timers/promises";
import { startPage } from "../programs/page.ts";
import type { Demo } from "./demo.ts";
import { createPod, finishTraining, readManifest, waitForPhase } from "./pods.ts";

/** Pods of 60 % at a time: one more than the three GPUs hold. */
const PODS = 4;

/** How long a pod trains before the next one gets its GPU, in ms. */
const TRAINING = 15_000;

const INTRODUCTION = `The page on a pool of two servers with three simulated GPUs. The programs are real; the cluster is simulated.
Pods of 60 % come and go. One always waits.`;

/** Serves the page while pods come and go, until the demo is stopped. */
export async function servePage(demo: Demo, kubeconfig: string): Promise<void> {
  await using page = await startPage({ kubeconfig });
  console.log(`${INTRODUCTION}\n\n   ${page.url}\n\nCtrl-C ends it.`);
  for (let number = 1; ; number++) {
    await createPod(demo, await readManifest(`train-${number}`));
    if (number < PODS) continue;
    const oldest = `train-${number - PODS + 1}`;
    await waitForPhase(demo, oldest, "Running");
    await sleep(TRAINING, undefined, { signal: demo.signal });
    await finishTraining(demo, oldest);
  }
}
