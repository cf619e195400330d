import { readFile } from "node:fs/promises";
import { parse } from "yaml";
import { WORKLOAD } from "./images.ts";

/** A Pod as these tests write it. */
export interface PodManifest {
  metadata: { name: string; namespace?: string; annotations?: Record<string, string> };
  spec: Record<string, unknown> & {
    containers: { name: string; image: string; command?: string[]; resources?: object }[];
  };
}

/** The original's example, with an image and a namespace that are here. Its host path is that of kind/cluster.yaml. */
export async function examplePod(namespace: string): Promise<PodManifest> {
  const pod: PodManifest = parse(await readFile("examples/pod.yaml", "utf8"));
  pod.metadata.namespace = namespace;
  pod.spec.restartPolicy = "Never";
  for (const container of pod.spec.containers) container.image = WORKLOAD;
  return pod;
}

export interface SharePodOptions {
  namespace: string;
  name: string;
  num: number;
  percent: number | string;
  command?: string[];
  /** Runs on this node only. */
  node?: string;
}

/** An annotated pod with one container that asks for a share. */
export function sharePod({
  namespace,
  name,
  num,
  percent,
  command = ["printenv", "BITFUSION_GPUS"],
  node,
}: SharePodOptions): PodManifest & object {
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, namespace, annotations: { "auto-management/bitfusion": "yes" } },
    spec: {
      restartPolicy: "Never",
      ...(node ? { nodeSelector: { "kubernetes.io/hostname": node } } : {}),
      containers: [
        {
          name: "main",
          image: WORKLOAD,
          command,
          resources: { limits: { "bitfusion.io/gpu-num": num, "bitfusion.io/gpu-percent": percent } },
        },
      ],
    },
  } as PodManifest;
}
