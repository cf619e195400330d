import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CLUSTER } from "../steps/kubectl.ts";
import { diagnose } from "./diagnostics.ts";
import { buildImages, loadImages } from "./images.ts";
import { install } from "./install.ts";
import { createCluster, deleteCluster } from "./kind.ts";
import { SERVERS, startPool } from "./pool.ts";

export interface ClusterRunOptions {
  /** Leaves cluster and pool for the user to look at. */
  keep?: boolean;
  signal: AbortSignal;
}

/** A cluster on which everything is installed as README says. */
export interface ClusterRun {
  /** Path of its credentials. */
  readonly kubeconfig: string;
  /** Says what is done, and when. */
  say(text: string): void;
}

/** Does the work on a kind cluster of its own, with the pool's servers beside it, and removes both. */
export async function withCluster<T>(
  { keep = false, signal }: ClusterRunOptions,
  work: (run: ClusterRun) => Promise<T>,
): Promise<T> {
  // The reaper removes the containers of a run that crashed, and would remove those that are to be kept.
  if (keep) process.env.TESTCONTAINERS_RYUK_DISABLED = "true";
  const folder = await mkdtemp(join(tmpdir(), "bitfusion-e2e-"));
  const kubeconfig = join(folder, "kubeconfig");
  const start = performance.now();
  const say = (text: string) =>
    console.log(`${((performance.now() - start) / 1000).toFixed(1).padStart(6)} s  ${text}`);
  try {
    say("making images and cluster");
    await together(signal, buildImages, (either) => createCluster({ name: CLUSTER, kubeconfig, signal: either }));
    say("starting the pool's servers");
    await using _pool = await startPool({ keep });
    say("loading images");
    await loadImages(CLUSTER, signal);
    say("installing");
    await install(kubeconfig, signal).catch(async (error) => {
      await diagnose("install", { kubeconfig });
      throw error;
    });
    return await work({ kubeconfig, say });
  } finally {
    if (keep && !signal.aborted) {
      console.log(`The cluster stays, and the pool's servers beside it. To use them, and to remove them:
  kind export kubeconfig --name ${CLUSTER}
  kind delete cluster --name ${CLUSTER}; docker rm --force ${SERVERS.map(({ name }) => name).join(" ")}`);
    } else {
      say("removing the cluster");
      await deleteCluster(CLUSTER, kubeconfig);
    }
    await rm(folder, { recursive: true, force: true });
    say("done");
  }
}

/** Does both at once. When one fails the other is stopped, and has ended before the failure is thrown. */
async function together(signal: AbortSignal, ...parts: ((signal: AbortSignal) => Promise<void>)[]): Promise<void> {
  const failed = new AbortController();
  const either = AbortSignal.any([signal, failed.signal]);
  const running = parts.map((part) => part(either).catch((error) => failed.abort(error)));
  await Promise.all(running);
  failed.signal.throwIfAborted();
}
