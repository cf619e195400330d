import { exec } from "../steps/exec.ts";

export interface ClusterOptions {
  name: string;
  /** Path to write the credentials to. The user's own kubeconfig is not changed. */
  kubeconfig: string;
  /** The kind configuration, in YAML. Host paths are relative to the working directory. */
  config: string;
  /** The image of the nodes, which decides the version of Kubernetes. Default: that of the installed kind. */
  image?: string | undefined;
  signal: AbortSignal;
}

/** Creates a cluster. Replaces a cluster that an earlier run left behind. */
export async function createCluster({ name, kubeconfig, config, image, signal }: ClusterOptions): Promise<void> {
  await deleteCluster(name, kubeconfig);
  const options = ["--name", name, "--config", "-", "--kubeconfig", kubeconfig, "--wait", "180s"];
  await exec(["kind", "create", "cluster", ...options, ...(image ? ["--image", image] : [])], {
    stdin: config,
    signal,
  });
}

/** Deletes a cluster. No error if it does not exist. */
export async function deleteCluster(name: string, kubeconfig: string): Promise<void> {
  await exec(["kind", "delete", "cluster", "--name", name, "--kubeconfig", kubeconfig]);
}
