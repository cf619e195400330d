import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CLUSTER } from "../steps/kubectl.ts";
import { diagnose } from "./diagnostics.ts";
import { buildImages, loadImages } from "./images.ts";
import { createSecret, install } from "./install.ts";
import { createCluster, deleteCluster } from "./kind.ts";
import { SERVERS, startPool } from "./pool.ts";
import { recordConnections, recordRequests } from "./records.ts";

/** The kind configuration that README uses. */
export const CLUSTER_CONFIG = "kind/cluster.yaml";

export interface ClusterRunOptions {
  /** Keeps the cluster and the pool for inspection. Ryuk must be off. */
  keep?: boolean;
  /** The kind configuration, in YAML. Default: {@link CLUSTER_CONFIG}. */
  config?: string;
  /** The image of the nodes. Default: that of the environment, or of the installed kind. */
  nodeImage?: string | undefined;
  /** Whether to install everything. If not, the cluster has only the pool's token: the tests install. Default: true. */
  installs?: boolean;
  /** Records the requests and connections of the programs. */
  record?: boolean;
  signal: AbortSignal;
}

/** A cluster. Unless {@link ClusterRunOptions.installs} is false, everything is installed as README describes. */
export interface ClusterRun {
  /** Path of the cluster's kubeconfig. */
  readonly kubeconfig: string;
  /** Prints the current step, with the seconds since the start. */
  logProgress(step: string): void;
}

/**
 * Runs `work` on a new kind cluster with pool servers outside it, which replaces that of an earlier run. Removes both unless `keep`. Returns the
 * result.
 */
export async function withCluster<T>(
  {
    keep = false,
    config,
    nodeImage = process.env.KIND_NODE_IMAGE,
    installs = true,
    record = false,
    signal,
  }: ClusterRunOptions,
  work: (run: ClusterRun) => Promise<T>,
): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), "bitfusion-e2e-"));
  const kubeconfig = join(folder, "kubeconfig");
  const start = performance.now();
  const logProgress = (step: string) =>
    console.log(`${((performance.now() - start) / 1000).toFixed(1).padStart(6)} s  ${step}`);
  try {
    logProgress("building images and creating the cluster");
    const kindConfig = config ?? (await readFile(CLUSTER_CONFIG, "utf8"));
    const cluster = {
      name: CLUSTER,
      kubeconfig,
      config: record ? recordRequests(kindConfig) : kindConfig,
      image: nodeImage,
    };
    await runConcurrently(signal, buildImages, (signal) => createCluster({ ...cluster, signal }));
    if (record) await recordConnections();
    logProgress("starting the pool servers and loading images");
    await using resources = new AsyncDisposableStack();
    await runConcurrently(
      signal,
      (signal) => loadImages(CLUSTER, signal),
      async () => void resources.use(await startPool({ keep })),
    );
    logProgress(installs ? "installing" : "creating the token");
    const prepare = installs ? install : createSecret;
    await prepare({ env: { KUBECONFIG: kubeconfig }, signal }).catch(async (error) => {
      await diagnose("install", { kubeconfig });
      throw error;
    });
    return await work({ kubeconfig, logProgress });
  } finally {
    if (keep && !signal.aborted) {
      console.log(`The cluster and the pool servers are kept. To use and to remove them:
  kind export kubeconfig --name ${CLUSTER}
  kind delete cluster --name ${CLUSTER}; docker rm --force ${SERVERS.map(({ name }) => name).join(" ")}`);
    } else {
      logProgress("removing the cluster");
      await deleteCluster(CLUSTER, kubeconfig);
    }
    await rm(folder, { recursive: true, force: true });
    logProgress("done");
  }
}

/** Runs tasks concurrently. If one fails, aborts the others, waits until they have ended, and throws the failure. */
async function runConcurrently(
  signal: AbortSignal,
  ...tasks: ((signal: AbortSignal) => Promise<void>)[]
): Promise<void> {
  const failed = new AbortController();
  const anySignal = AbortSignal.any([signal, failed.signal]);
  const running = tasks.map((task) => task(anySignal).catch((error) => failed.abort(error)));
  await Promise.all(running);
  failed.signal.throwIfAborted();
}
