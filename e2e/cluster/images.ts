import { exec } from "../steps/exec.ts";
import { WORKERS } from "../steps/kubectl.ts";

interface Image {
  readonly name: string;
  readonly dockerfile: string;
  /** The nodes that run it; none for the pool's servers, which are not in the cluster. */
  readonly nodes?: "all" | "workers";
}

export const SERVER_IMAGE = "bitfusion-server:0.1.0";
/** What test pods run. */
export const WORKLOAD = "bitfusion-e2e-workload:0.1.0";

export const IMAGES: readonly Image[] = [
  { name: "bitfusion-device-plugin:0.1.0", dockerfile: "plugin/Dockerfile", nodes: "all" },
  { name: "bitfusion-webhook:0.1.0", dockerfile: "webhook/Dockerfile", nodes: "workers" },
  { name: "bitfusion-controller:0.1.0", dockerfile: "controller/Dockerfile", nodes: "workers" },
  { name: "bitfusion-client:0.1.0", dockerfile: "client/Dockerfile", nodes: "workers" },
  { name: SERVER_IMAGE, dockerfile: "server/Dockerfile" },
  { name: WORKLOAD, dockerfile: "e2e/cluster/Dockerfile", nodes: "workers" },
];

/** Builds each image from this checkout. */
export async function buildImages(signal: AbortSignal): Promise<void> {
  // One after the other: they share their first stage.
  for (const { name, dockerfile } of IMAGES) {
    const options = ["-f", dockerfile, "-t", name];
    await exec(["docker", "build", "--quiet", ...options, "."], { signal });
  }
}

/** Puts them into the cluster's nodes that run them. */
export async function loadImages(cluster: string, signal: AbortSignal): Promise<void> {
  const load = (names: readonly string[], ...options: string[]) =>
    exec(["kind", "load", "docker-image", "--name", cluster, ...options, ...names], { signal });
  const of = (nodes: Image["nodes"]) => IMAGES.filter((image) => image.nodes === nodes).map(({ name }) => name);
  await load(of("all"));
  await load(of("workers"), `--nodes=${WORKERS.join(",")}`);
}
