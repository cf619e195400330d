import { exec } from "../steps/exec.ts";

export interface ClusterOptions {
  name: string;
  /** Where the credentials are written; the user's own kubeconfig is left alone. */
  kubeconfig: string;
  signal: AbortSignal;
}

/** Makes a cluster as kind/cluster.yaml says, in place of one that an earlier run left behind. */
export async function createCluster({ name, kubeconfig, signal }: ClusterOptions): Promise<void> {
  await deleteCluster(name, kubeconfig);
  const image = process.env.KIND_NODE_IMAGE;
  const options = ["--name", name, "--config", "kind/cluster.yaml", "--kubeconfig", kubeconfig, "--wait", "180s"];
  await exec(["kind", "create", "cluster", ...options, ...(image ? ["--image", image] : [])], { signal });
}

/** No error if there is none. */
export async function deleteCluster(name: string, kubeconfig: string): Promise<void> {
  await exec(["kind", "delete", "cluster", "--name", name, "--kubeconfig", kubeconfig]);
}
