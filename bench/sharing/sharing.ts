import { withCluster } from "../../e2e/cluster/cluster.ts";
import { connectKubernetes } from "../../kubernetes/client.ts";
import { benchPrepare } from "../plugin/prepare.ts";
import { benchPodStart } from "./pod_start.ts";
import { benchPublishing } from "./publishing.ts";
import { benchScheduling } from "./scheduling.ts";

/** Measures the cost of exact sharing on a new kind cluster: pod start, scheduling, publishing, preparing claims. */
export async function benchSharing(): Promise<Record<string, string>[][]> {
  const stop = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const)
    process.once(signal, () => stop.abort(new Error(`Received ${signal}`)));
  const prepare = await benchPrepare();
  return withCluster({ signal: stop.signal }, async ({ kubeconfig, logProgress }) => {
    process.env.KUBECONFIG = kubeconfig; // for kubectl and connectKubernetes()
    logProgress("starting pods with and without claims");
    const starts = await benchPodStart();
    logProgress("publishing 1,000 GPUs");
    const published = await benchPublishing(connectKubernetes().request);
    logProgress("scheduling 500 pods with and without claims");
    const scheduled = await benchScheduling(connectKubernetes().request);
    return [starts, scheduled, published, prepare];
  });
}
