import { readFile } from "node:fs/promises";
import { CLUSTER_CONFIG, type ClusterRun, withCluster } from "../../e2e/cluster/cluster.ts";
import { connectKubernetes } from "../../kubernetes/client.ts";
import { benchPrepare } from "../plugin/prepare.ts";
import { type ClientLimits, setClientLimits } from "./cluster_config.ts";
import { benchPodStart } from "./pod_start.ts";
import { benchPublishing } from "./publishing.ts";
import { benchScheduling } from "./scheduling.ts";

type Table = Record<string, string>[];

/** Clusters on which the scheduling rate is measured, besides the one with the defaults. */
const RAISED_LIMITS: readonly { raised: string; limits: ClientLimits; pairs: number }[] = [
  { raised: "controller manager 1000", limits: { controllerManager: 1000 }, pairs: 1 },
  { raised: "controller manager and scheduler 1000", limits: { controllerManager: 1000, scheduler: 1000 }, pairs: 7 },
];

/** Measures the cost of exact sharing on new kind clusters: pod start, scheduling, publishing, preparing claims. */
export async function benchSharing(): Promise<Table[]> {
  const stop = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const)
    process.once(signal, () => stop.abort(new Error(`Received ${signal}`)));
  const { signal } = stop;
  const prepare = await benchPrepare();
  const config = await readFile(CLUSTER_CONFIG, "utf8");
  const run = <T>(config: string, work: (run: ClusterRun) => Promise<T>) =>
    withCluster({ config, signal }, (cluster) => {
      process.env.KUBECONFIG = cluster.kubeconfig; // for kubectl and connectKubernetes()
      return work(cluster);
    });
  const [starts, published, scheduled] = await run(config, async ({ logProgress }) => {
    const { request } = connectKubernetes();
    logProgress("starting pods with and without claims");
    const starts = await benchPodStart();
    logProgress("publishing 1,000 GPUs");
    const published = await benchPublishing(request);
    const scheduled = await benchScheduling({ request, limits: "defaults", pairs: 1, logProgress });
    return [starts, published, scheduled] as const;
  });
  for (const { raised, limits, pairs } of RAISED_LIMITS) {
    const rows = await run(setClientLimits(config, limits), ({ logProgress }) =>
      benchScheduling({ request: connectKubernetes().request, limits: raised, pairs, logProgress }),
    );
    scheduled.push(...rows);
  }
  return [starts, scheduled, published, prepare];
}
