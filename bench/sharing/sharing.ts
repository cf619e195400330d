import { withCluster } from "../../e2e/cluster/cluster.ts";
import { connectKubernetes } from "../../kubernetes/client.ts";
import { benchPrepare } from "../plugin/prepare.ts";
import { benchPodStart } from "./pod_start.ts";
import { benchPublishing } from "./publishing.ts";
import { benchScheduling } from "./scheduling.ts";

/** What exact sharing costs, on a kind cluster of its own: a pod's start, the scheduler's work, the controller's, and the node driver's. */
export async function benchSharing(): Promise<Record<string, string>[][]> {
  const stop = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const)
    process.once(signal, () => stop.abort(new Error(`Received ${signal}`)));
  const prepare = await benchPrepare();
  return withCluster({ signal: stop.signal }, async ({ kubeconfig, say }) => {
    process.env.KUBECONFIG = kubeconfig; // kubectl's, and ours
    say("starting pods with and without claims");
    const starts = await benchPodStart();
    say("publishing 1,000 GPUs");
    const published = await benchPublishing(connectKubernetes().request);
    say("scheduling 500 pods with and without claims");
    const scheduled = await benchScheduling(connectKubernetes().request);
    return [starts, scheduled, published, prepare];
  });
}
