import { exec } from "../../e2e/steps/exec.ts";
import { CLUSTER, kubectl, waitFor } from "../../e2e/steps/kubectl.ts";
import { parseMetrics } from "../../e2e/steps/metrics.ts";

/** Where the components of the control plane serve their metrics, on its node. */
const METRICS = {
  "API server": "https://127.0.0.1:6443/metrics",
  scheduler: "https://127.0.0.1:10259/metrics",
  etcd: "http://127.0.0.1:2381/metrics",
  "controller manager": "https://127.0.0.1:10257/metrics",
} as const;

export type Component = keyof typeof METRICS;

export const COMPONENTS = Object.keys(METRICS) as readonly Component[];

/** What a component has done since its start. */
export interface Usage {
  /** CPU time, in seconds. */
  readonly cpu: number;
  /** Requests that its clients have sent to the API server. */
  readonly requests: number;
  /** Time that its requests have waited in the rate limiters of its clients, in seconds. Requests can wait concurrently. */
  readonly waited: number;
  /** Time that the scheduler has taken to choose nodes and GPUs, one pod after the other, in seconds. 0 for other components. */
  readonly decided: number;
}

export type ControlPlaneUsage = Readonly<Record<Component, Usage>>;

/** Returns what the components did between two readings. */
export function usageBetween(before: ControlPlaneUsage, after: ControlPlaneUsage): ControlPlaneUsage {
  const usages = COMPONENTS.map((component) => [component, subtract(after[component], before[component])]);
  return Object.fromEntries(usages) as ControlPlaneUsage;
}

function subtract(a: Usage, b: Usage): Usage {
  return {
    cpu: a.cpu - b.cpu,
    requests: a.requests - b.requests,
    waited: a.waited - b.waited,
    decided: a.decided - b.decided,
  };
}

const ACCOUNT = "bench-metrics";
/** Longer than the default rate limiters need to let a whole burst through again (2 s), in ms. */
const IDLE_TIME = 3000;
/** More than the requests that an idle component sends in this time: it renews its Lease every 2 s. */
const IDLE_REQUESTS = 30;

export interface ControlPlane {
  /** Reads the metrics of the components. @throws {ExecError} */
  read(): Promise<ControlPlaneUsage>;
  /** Waits until the controller manager and the scheduler are idle: they send hardly any requests, and none has to wait. */
  waitUntilIdle(): Promise<void>;
}

/** Creates a service account that may read the metrics of the control plane. */
export async function connectControlPlane(): Promise<ControlPlane> {
  await kubectl("create", "serviceaccount", ACCOUNT, "-n", "kube-system");
  const binding = ["--clusterrole=system:monitoring", `--serviceaccount=kube-system:${ACCOUNT}`];
  await kubectl("create", "clusterrolebinding", ACCOUNT, ...binding);
  const token = await kubectl("create", "token", ACCOUNT, "-n", "kube-system", "--duration=2h");
  const read = async () => {
    const usages = COMPONENTS.map(async (component) => [component, await readUsage(METRICS[component], token)]);
    return Object.fromEntries(await Promise.all(usages)) as ControlPlaneUsage;
  };
  return {
    read,
    async waitUntilIdle() {
      let before = await read();
      await waitFor("the control plane to be idle", async () => {
        await Bun.sleep(IDLE_TIME);
        const after = await read();
        const usage = usageBetween(before, after);
        const isIdle = (["controller manager", "scheduler"] as const).every(
          (component) => usage[component].requests < IDLE_REQUESTS && usage[component].waited < 0.1,
        );
        before = after;
        return isIdle;
      });
    },
  };
}

async function readUsage(url: string, token: string): Promise<Usage> {
  // From its node: the components listen on localhost, with certificates of their own.
  const curl = ["curl", "--silent", "--show-error", "--fail", "--insecure", "--header", "@-", url];
  const header = `Authorization: Bearer ${token}`;
  const text = await exec(["docker", "exec", "--interactive", `${CLUSTER}-control-plane`, ...curl], { stdin: header });
  const metrics = parseMetrics(text);
  const sum = (name: string) =>
    [...metrics].reduce(
      (total, [key, value]) => (key.startsWith(`${name}{`) || key === name ? total + value : total),
      0,
    );
  return {
    cpu: sum("process_cpu_seconds_total"),
    requests: sum("rest_client_rate_limiter_duration_seconds_count"),
    waited: sum("rest_client_rate_limiter_duration_seconds_sum"),
    decided: sum("scheduler_scheduling_algorithm_duration_seconds_sum"),
  };
}
