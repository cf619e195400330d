import { exec } from "./exec.ts";

interface Image {
  readonly name: string;
  readonly dockerfile: string;
  readonly target?: string;
  /** Whether pods run it: the pool's servers do not run in the cluster. */
  readonly inCluster: boolean;
}

export const POOL_SIMULATOR = "bitfusion-pool-simulator:0.1.0";
/** What test pods run. */
export const WORKLOAD = "bitfusion-e2e-workload:0.1.0";

export const IMAGES: readonly Image[] = [
  { name: "bitfusion-device-plugin:0.1.0", dockerfile: "plugin/Dockerfile", inCluster: true },
  { name: "bitfusion-webhook:0.1.0", dockerfile: "webhook/Dockerfile", inCluster: true },
  { name: "bitfusion-publisher:0.1.0", dockerfile: "publisher/Dockerfile", inCluster: true },
  { name: "bitfusion-client:0.1.0", dockerfile: "pool/simulator/Dockerfile", target: "client", inCluster: true },
  { name: POOL_SIMULATOR, dockerfile: "pool/simulator/Dockerfile", target: "server", inCluster: false },
  { name: WORKLOAD, dockerfile: "e2e/Dockerfile", inCluster: true },
];

/** Builds each image from this checkout. */
export async function buildImages(signal: AbortSignal): Promise<void> {
  // One after the other: they share their first stage.
  for (const { name, dockerfile, target } of IMAGES) {
    const options = ["-f", dockerfile, "-t", name, ...(target ? ["--target", target] : [])];
    await exec(["docker", "build", "--quiet", ...options, "."], { signal });
  }
}

/** Puts them into the cluster's nodes. */
export async function loadImages(cluster: string, signal: AbortSignal): Promise<void> {
  const names = IMAGES.filter(({ inCluster }) => inCluster).map(({ name }) => name);
  await exec(["kind", "load", "docker-image", "--name", cluster, ...names], { signal });
}
