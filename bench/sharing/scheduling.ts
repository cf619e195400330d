import { POOL_PORT, type PoolServer, startPool } from "../../e2e/cluster/pool.ts";
import { setEnvironment } from "../../e2e/steps/installation.ts";
import { waitFor } from "../../e2e/steps/kubectl.ts";
import { RESOURCE_SLICES, type ResourceSlice } from "../../kubernetes/objects/resource_slice.ts";
import type { KubernetesRequest } from "../../kubernetes/request.ts";
import { attributesOfDevice } from "../../pool/attributes.ts";
import { median, percentile } from "../common/statistics.ts";
import {
  COMPONENTS,
  type Component,
  type ControlPlane,
  type ControlPlaneUsage,
  connectControlPlane,
  usageBetween,
} from "./control_plane.ts";
import { controllerCpuTime, startController, stopController } from "./controller_deployment.ts";
import { startFakeNodes } from "./fake_nodes.ts";
import { type ClaimOrigin, createPodBatches, type PodBatches } from "./pod_batch.ts";

const PODS = 500;
const NODES = 5;
/** Pods that are created one at a time. */
const ALONE = 100;
const SERVER: PoolServer = { name: "bitfusion-pool-bench", configuration: "pool_bench.yaml" };
/** Its number of GPUs. */
const GPUS = 1000;
const ADDRESS = `${SERVER.name}:${POOL_PORT}`;

export interface SchedulingOptions {
  request: KubernetesRequest;
  /** What the table says about the client limits of the cluster. */
  limits: string;
  /** Number of pairs of batches with claims: while the controller is stopped, and while it runs. */
  pairs: number;
  logProgress(step: string): void;
}

/** A batch of pods. Times in seconds. */
interface Sample {
  readonly time: number;
  readonly usage: ControlPlaneUsage;
  /** CPU time of the controller. */
  readonly controllerCpu: number;
}

/**
 * Measures how many pods are bound per second with 1,000 GPUs in slices: without claims, and with claims while the controller is
 * stopped and while it runs, in pairs.
 */
export async function benchScheduling(options: SchedulingOptions): Promise<Record<string, string>[]> {
  const { request, limits, pairs, logProgress } = options;
  await using _pool = await startPool({ servers: [SERVER] });
  await setEnvironment("bitfusion-controller", `POOL_SERVERS=${ADDRESS}`);
  await startController();
  await waitFor("all GPUs to be published", async () => (await countGpus(request)) === GPUS);
  const labels = { bench: "scheduling" };
  await using _nodes = await startFakeNodes({ request, count: NODES, labels });
  const batches = await createPodBatches({ request, count: PODS, nodeSelector: labels });
  const controlPlane = await connectControlPlane();
  const measureBatch = async (what: string, claims: ClaimOrigin) => {
    const sample = await measure({ controlPlane, batches, claims });
    logProgress(`${what}: ${(PODS / sample.time).toFixed(1)} pods/s`);
    return sample;
  };

  const without = await measureBatch("without claims", "none");
  const stopped: Sample[] = [];
  const running: Sample[] = [];
  const byController: Sample[] = [];
  const order = [
    async () => {
      await stopController();
      stopped.push(await measureBatch("claims from a template, controller stopped", "template"));
    },
    async () => {
      await startController();
      running.push(await measureBatch("claims from a template, controller running", "template"));
    },
    async () => {
      await startController();
      byController.push(await measureBatch("claims by the controller", "controller"));
    },
  ];
  // Every other pair in reverse order, so that drift of the machine affects both.
  for (let pair = 0; pair < pairs; pair++) for (const each of pair % 2 === 0 ? order : order.toReversed()) await each();
  const ratio = (samples: readonly Sample[], others: readonly Sample[]) =>
    describe(
      samples.map(({ time }, index) => (others[index]?.time ?? Number.NaN) / time),
      2,
    );
  await startController();
  const delays = await batches.claimDelays(ALONE);
  const ms = (fraction: number) => `${percentile(delays, fraction).toFixed(0)} ms`;
  return [
    { "client limits": limits, ...row("none", [without]) },
    row("from a template, controller stopped", stopped),
    { ...row("from a template, controller running", running), "running / stopped": ratio(running, stopped) },
    {
      ...row("by the controller", byController),
      "controller / template": ratio(byController, running),
      "claim of a pod alone: p50, p99": `${ms(0.5)}, ${ms(0.99)}`,
    },
  ];
}

interface MeasureOptions {
  controlPlane: ControlPlane;
  batches: PodBatches;
  claims: ClaimOrigin;
}

async function measure({ controlPlane, batches, claims }: MeasureOptions): Promise<Sample> {
  await controlPlane.waitUntilIdle();
  const before = { usage: await controlPlane.read(), cpu: await controllerCpuTime() };
  const time = await batches.schedule(claims);
  const controllerCpu = (await controllerCpuTime()) - before.cpu;
  const usage = usageBetween(before.usage, await controlPlane.read());
  await batches.clear();
  return { time, usage, controllerCpu };
}

function row(claims: string, samples: readonly Sample[]): Record<string, string> {
  const medianOf = (value: (sample: Sample) => number) => median(samples.map(value));
  const seconds = (value: (sample: Sample) => number) => `${medianOf(value).toFixed(1)} s`;
  const waited = (component: Component) => {
    const requests = medianOf(({ usage }) => usage[component].requests);
    return `${seconds(({ usage }) => usage[component].waited)} in ${requests} requests`;
  };
  const cpu = COMPONENTS.map((component) => `${component} ${seconds(({ usage }) => usage[component].cpu)}`);
  const rates = samples.map(({ time }) => PODS / time);
  return {
    claims,
    "pods/s": describe(rates, 1),
    time: seconds(({ time }) => time),
    "controller manager waited": waited("controller manager"),
    "scheduler waited": waited("scheduler"),
    "scheduler decided": seconds(({ usage }) => usage.scheduler.decided),
    "CPU time": [...cpu, `controller ${seconds(({ controllerCpu }) => controllerCpu)}`].join(", "),
  };
}

/** The median, and the range of several values: `17.1 (16.9–17.4)`. */
function describe(values: readonly number[], digits: number): string {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const range = values.length > 1 ? ` (${low.toFixed(digits)}–${high.toFixed(digits)})` : "";
  return `${median(values).toFixed(digits)}${range}`;
}

/** Counts the published GPUs of the server that can be allocated. */
async function countGpus(request: KubernetesRequest): Promise<number> {
  const { items } = (await (await request(RESOURCE_SLICES)).json()) as { items: ResourceSlice[] };
  const devices = items.flatMap(({ spec }) => spec.devices ?? []);
  return devices.filter((device) => attributesOfDevice(device).server === ADDRESS && !device.taints).length;
}
