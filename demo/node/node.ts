import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { type Container, hasEnded, PODS, type Pod } from "../../kubernetes/objects/pod.ts";
import type { SimulatedDraKubelet } from "../../kubernetes/simulated/dra_kubelet.ts";
import type { ObjectStore } from "../../kubernetes/simulated/objects.ts";
import { claimOf, setPodStatus } from "../../kubernetes/simulated/pods.ts";
import { messageOf } from "../../program/log/log.ts";
import { readCdiEdits } from "./cdi.ts";
import { runContainer } from "./container.ts";
import { createVolumes } from "./volumes.ts";

export interface NodeOptions {
  name: string;
  /** Folder for the files of pods. */
  folder: string;
  /** Folder that stands for the root of the node's file system. */
  hostRoot: string;
  store: ObjectStore;
  /** Prepares claims with the node's driver. */
  kubelet: SimulatedDraKubelet;
  cdiDirectory: string;
  /** The files of images by the name of the image without its tag: path in the image → file on this machine. */
  images: Readonly<Record<string, Readonly<Record<string, string>>>>;
}

/** The simulated kubelet and container runtime of a node. Containers are processes. */
export interface Node {
  /** The lines that the containers of a pod have written. */
  logs(pod: string): readonly string[];
  /** Runs the pods that the scheduler binds to the node. Returns when the signal is aborted and all containers have ended. */
  run(signal: AbortSignal): Promise<void>;
}

export function createNode(options: NodeOptions): Node {
  const { name, store } = options;
  const logs = new Map<string, string[]>();

  function start(pod: Pod, signal: AbortSignal): Promise<void> {
    const lines: string[] = [];
    logs.set(pod.metadata.name, lines);
    return runPod(pod, { ...options, onLine: (line) => lines.push(line), signal }).catch((error) => {
      if (!signal.aborted) setPodStatus(store, pod, { phase: "Failed", message: messageOf(error) });
    });
  }

  return {
    logs: (pod) => logs.get(pod) ?? [],
    async run(signal) {
      const pods = new Map<string | undefined, Promise<void>>();
      for await (const _ of store.version.changes(signal)) {
        for (const pod of store.list<Pod>(PODS)) {
          const { uid } = pod.metadata;
          if (pod.spec.nodeName === name && !hasEnded(pod) && !pods.has(uid)) pods.set(uid, start(pod, signal));
        }
      }
      await Promise.all(pods.values());
    },
  };
}

interface RunPodOptions extends NodeOptions {
  onLine: (line: string) => void;
  signal: AbortSignal;
}

/** Prepares the claims of a pod, runs its init containers in turn and then its containers, and unprepares the claims. */
async function runPod(pod: Pod, options: RunPodOptions): Promise<void> {
  const { store, kubelet, hostRoot, signal } = options;
  const folder = join(options.folder, pod.metadata.name);
  await mkdir(folder);
  const claims = (pod.spec.resourceClaims ?? []).flatMap(({ name }) => claimOf(store, pod, name) ?? []);
  const ids = claims.map(({ metadata: { namespace = "", name, uid = "" } }) => ({ namespace, name, uid }));
  try {
    const devices = await prepare(ids, kubelet);
    const volumes = await createVolumes(pod, { folder: join(folder, "volumes"), hostRoot });
    const run = (container: Container) => runPodContainer(pod, container, { ...options, folder, volumes, devices });
    for (const container of pod.spec.initContainers ?? []) {
      const exitCode = await run(container);
      if (exitCode !== 0) throw new Error(`Init container "${container.name}" exited with ${exitCode}`);
    }
    setPodStatus(store, pod, { phase: "Running" });
    const exitCodes = await Promise.all(pod.spec.containers.map(run));
    signal.throwIfAborted();
    await unprepare(ids, kubelet);
    const failed = exitCodes.findIndex((exitCode) => exitCode !== 0);
    const message = `Container "${pod.spec.containers[failed]?.name}" exited with ${exitCodes[failed]}`;
    setPodStatus(store, pod, {
      ...(failed === -1 ? { phase: "Succeeded" } : { phase: "Failed", message }),
      containerStatuses: pod.spec.containers.map(({ name }, index) => ({
        name,
        state: { terminated: { exitCode: exitCodes[index] as number } },
      })),
    });
  } finally {
    await rm(folder, { recursive: true });
  }
}

type ClaimId = Parameters<SimulatedDraKubelet["prepare"]>[0][number];

/** The CDI devices of each claim, by the claim's UID. */
type Devices = ReadonlyMap<string, readonly string[]>;

async function prepare(claims: readonly ClaimId[], kubelet: SimulatedDraKubelet): Promise<Devices> {
  if (claims.length === 0) return new Map();
  const results = Object.entries(await kubelet.prepare(claims));
  for (const [, { error }] of results) if (error) throw new Error(`NodePrepareResources failed: ${error}`);
  return new Map(results.map(([uid, { devices }]) => [uid, devices.flatMap(({ cdiDeviceIds }) => cdiDeviceIds)]));
}

async function unprepare(claims: readonly ClaimId[], kubelet: SimulatedDraKubelet): Promise<void> {
  if (claims.length === 0) return;
  const results = Object.values(await kubelet.unprepare(claims));
  for (const { error } of results) if (error) throw new Error(`NodeUnprepareResources failed: ${error}`);
}

interface RunContainerOptions extends RunPodOptions {
  volumes: Readonly<Record<string, string>>;
  devices: Devices;
}

async function runPodContainer(pod: Pod, container: Container, options: RunContainerOptions): Promise<number> {
  const { store, folder, volumes, devices, cdiDirectory, images, onLine, signal } = options;
  const [image = ""] = container.image.split(":");
  const files = images[image];
  if (!files) throw new Error(`Image "${container.image}" is not on the node`);
  const names = (container.resources?.claims ?? []).flatMap(({ name }) => {
    return devices.get(claimOf(store, pod, name)?.metadata.uid ?? "") ?? [];
  });
  const { namespace, name } = pod.metadata;
  return runContainer(container, {
    root: join(folder, container.name),
    image: files,
    volumes,
    fields: { "metadata.namespace": namespace, "metadata.name": name },
    ...(await readCdiEdits(cdiDirectory, names)),
    onLine,
    signal,
  });
}
