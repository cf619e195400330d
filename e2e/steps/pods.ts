import { readFile } from "node:fs/promises";
import { parse } from "yaml";
import { WORKLOAD } from "../cluster/images.ts";

export interface ContainerManifest {
  name: string;
  image?: string;
  command?: string[];
  args?: string[];
  restartPolicy?: "Always";
  resources?: {
    limits?: Record<string, string | number>;
    requests?: Record<string, string | number>;
    claims?: { name: string }[];
  };
  securityContext?: object;
  env?: { name: string; value: string }[];
  envFrom?: object[];
  volumeMounts?: { name: string; mountPath: string }[];
}

/** The fields of a Pod that these tests use. */
export interface PodManifest {
  apiVersion: "v1";
  kind: "Pod";
  metadata: { name: string; namespace?: string; annotations?: Record<string, string> };
  spec: {
    containers: ContainerManifest[];
    initContainers?: ContainerManifest[];
    restartPolicy?: "Never" | "OnFailure";
    terminationGracePeriodSeconds?: number;
    nodeSelector?: Record<string, string>;
    securityContext?: object;
    shareProcessNamespace?: boolean;
    resources?: { limits: Record<string, string | number> };
    volumes?: object[];
    nodeName?: string;
    schedulingGates?: { name: string }[];
  };
  status?: { qosClass: string };
}

interface JobManifest {
  metadata: { name: string; namespace?: string };
  spec: { template: Pick<PodManifest, "spec"> };
}

/** Returns the original project's example with a test's image and namespace. kind/cluster.yaml has its host path. */
export async function exampleJob(namespace: string): Promise<JobManifest> {
  const job: JobManifest = parse(await readFile("examples/job.yaml", "utf8"));
  job.metadata.namespace = namespace;
  for (const container of job.spec.template.spec.containers) container.image = WORKLOAD;
  return job;
}

export interface PodOptions {
  namespace: string;
  name: string;
  /** Value of auto-management/bitfusion; no annotation if absent. */
  mode?: string;
  containers: ContainerManifest[];
  initContainers?: ContainerManifest[];
  /** The node to run on; any node if absent. */
  node?: string;
  /** Value of bitfusion-client/filter. */
  filter?: string;
  /** Value of bitfusion-client/os. */
  os?: string;
  securityContext?: object;
  /** Pod-level limits. */
  limits?: Record<string, string | number>;
  volumes?: object[];
}

/** Creates a pod that runs once. Containers without an image get the test image. */
export function pod({
  namespace,
  name,
  mode,
  containers,
  initContainers,
  node,
  filter,
  os,
  securityContext,
  limits,
  volumes,
}: PodOptions): PodManifest {
  const withImage = (container: ContainerManifest) => ({ image: WORKLOAD, ...container });
  const annotations = {
    ...(mode ? { "auto-management/bitfusion": mode } : {}),
    ...(filter ? { "bitfusion-client/filter": filter } : {}),
    ...(os ? { "bitfusion-client/os": os } : {}),
  };
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, namespace, annotations },
    spec: {
      restartPolicy: "Never",
      terminationGracePeriodSeconds: 1, // `sleep` as process 1 ignores SIGTERM
      containers: containers.map(withImage),
      ...(initContainers ? { initContainers: initContainers.map(withImage) } : {}),
      ...(node ? { nodeSelector: { "kubernetes.io/hostname": node } } : {}),
      ...(securityContext ? { securityContext } : {}),
      ...(limits ? { resources: { limits } } : {}),
      ...(volumes ? { volumes } : {}),
    },
  };
}

/** Returns limits of `num` GPUs at `percent` each. */
export function share(num: number, percent: number): { limits: Record<string, number> } {
  return { limits: { "bitfusion.io/gpu-num": num, "bitfusion.io/gpu-percent": percent } };
}

export interface SharePodOptions extends Omit<PodOptions, "containers"> {
  num: number;
  percent: number;
  command?: string[];
}

/** Creates an annotated pod with one container, `main`, that requests a share. */
export function sharePod({
  num,
  percent,
  command = ["printenv", "BITFUSION_GPUS"],
  ...rest
}: SharePodOptions): PodManifest {
  return pod({ mode: "yes", containers: [{ name: "main", command, resources: share(num, percent) }], ...rest });
}

/** A workload whose pods are as this one, with the label `app`. Those of a Job must end, and those of the others always run again. */
export function workload(
  kind: "Deployment" | "StatefulSet" | "Job",
  { metadata: { annotations, ...metadata }, spec }: PodManifest,
) {
  const labels = { app: metadata.name };
  const template = { metadata: { annotations, labels }, spec };
  if (kind === "Job") return { apiVersion: "batch/v1", kind, metadata, spec: { template } };
  const service = kind === "StatefulSet" ? { serviceName: metadata.name } : {};
  const running = { ...template, spec: { ...spec, restartPolicy: "Always" } };
  return {
    apiVersion: "apps/v1",
    kind,
    metadata,
    spec: { ...service, selector: { matchLabels: labels }, template: running },
  };
}
