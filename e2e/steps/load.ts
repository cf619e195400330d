import { apply, get } from "./kubectl.ts";
import { sharePod } from "./pods.ts";

/**
 * Pods that may fail: the kubelet fails those that it starts while it restarts, and rejects those that are bound to its node while the device
 * plugin is away. The Job replaces them.
 */
const BACKOFF_LIMIT = 20;

export interface LoadOptions {
  count: number;
  command: string[];
  /** Value of bitfusion-client/filter. */
  filter: string;
}

/** Creates a Job `load` of `count` parallel pods, each with 50 percent of a GPU that the filter selects. */
export async function startLoad(namespace: string, { count, command, filter }: LoadOptions): Promise<void> {
  const { metadata, spec } = sharePod({ namespace, name: "load", num: 1, percent: 50, filter, command });
  const template = { metadata: { annotations: metadata.annotations }, spec };
  await apply({
    apiVersion: "batch/v1",
    kind: "Job",
    metadata: { name: "load", namespace },
    spec: { completions: count, parallelism: count, backoffLimit: BACKOFF_LIMIT, template },
  });
}

/** How many pods of the Job have succeeded, and how many are ready. */
export async function loadStatus(namespace: string): Promise<{ succeeded?: number; ready?: number }> {
  return (await get<{ status: { succeeded?: number; ready?: number } }>("job", "load", "-n", namespace)).status;
}
