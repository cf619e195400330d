import { exec } from "../steps/exec.ts";
import { WORKERS } from "../steps/kubectl.ts";

interface Image {
  readonly name: string;
  /** Of the programs; the context is this checkout. */
  readonly dockerfile?: string;
  /** Of the tests: a target of e2e/images/Dockerfile. */
  readonly target?: string;
  /** The nodes that run it. Absent for pool servers, which are not in the cluster. */
  readonly nodes?: "all" | "workers";
}

export const SERVER_IMAGE = "bitfusion-server:0.1.0";
/** The image of pool servers with a data plane. */
export const DATA_PLANE_SERVER_IMAGE = "bitfusion-e2e-pool-server:0.1.0";
/** The image of test pods. */
export const WORKLOAD = "bitfusion-e2e-workload:0.1.0";
/** An image that runs a CUDA program by its entrypoint. */
export const CUDA = "bitfusion-e2e-cuda:0.1.0";
/** The files of the data plane's client, as e2e/cluster/client.yaml names them. */
export const CLIENT_FILES = "bitfusion-e2e-client:0.1.0";

export const IMAGES: readonly Image[] = [
  { name: "bitfusion-device-plugin:0.1.0", dockerfile: "plugin/Dockerfile", nodes: "all" },
  { name: "bitfusion-webhook:0.1.0", dockerfile: "webhook/Dockerfile", nodes: "workers" },
  { name: "bitfusion-controller:0.1.0", dockerfile: "controller/Dockerfile", nodes: "workers" },
  { name: "bitfusion-client:0.1.0", dockerfile: "client/Dockerfile", nodes: "workers" },
  { name: SERVER_IMAGE, dockerfile: "server/Dockerfile" },
  { name: DATA_PLANE_SERVER_IMAGE, target: "pool-server" }, // contains the one above
  { name: WORKLOAD, target: "workload", nodes: "workers" },
  { name: CUDA, target: "cuda", nodes: "workers" },
  { name: CLIENT_FILES, target: "client", nodes: "workers" },
];

/** Builds a target of e2e/images/Dockerfile. */
export async function buildTarget(name: string, target: string, signal?: AbortSignal): Promise<void> {
  await build(name, ["--target", target, "--build-context", "nvml=server/gpus/nvidia/testing", "e2e/images"], signal);
}

/** Builds each image from this checkout. */
export async function buildImages(signal: AbortSignal): Promise<void> {
  // Sequentially: the images share their first stage.
  for (const { name, dockerfile, target = "" } of IMAGES) {
    if (dockerfile) await build(name, ["-f", dockerfile, "."], signal);
    else await buildTarget(name, target, signal);
  }
}

async function build(name: string, source: readonly string[], signal?: AbortSignal): Promise<void> {
  await exec(["docker", "build", "--quiet", "-t", name, ...source], signal ? { signal } : {});
}

/** Loads each image onto the cluster nodes that run it. */
export async function loadImages(cluster: string, signal: AbortSignal): Promise<void> {
  const load = (names: readonly string[], ...options: string[]) =>
    exec(["kind", "load", "docker-image", "--name", cluster, ...options, ...names], { signal });
  const imagesOn = (nodes: Image["nodes"]) => IMAGES.filter((image) => image.nodes === nodes).map(({ name }) => name);
  await load(imagesOn("all"));
  await load(imagesOn("workers"), `--nodes=${WORKERS.join(",")}`);
}
