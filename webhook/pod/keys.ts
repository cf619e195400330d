import { CLAIM_ANNOTATIONS, RESOURCE_NAME } from "../../pool/driver.ts";

/** Annotations of a pod. */
export const ANNOTATIONS = {
  mode: "auto-management/bitfusion",
  status: "auto-management/status",
  os: "bitfusion-client/os",
  version: "bitfusion-client/version",
  filter: CLAIM_ANNOTATIONS.filter,
  /** The share of each GPU that {@link NVIDIA_GPU} counts. */
  percent: "bitfusion.io/gpu-percent",
  /** Of the Kubernetes cluster autoscaler. */
  evictableVolumes: "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes",
} as const;

/** Limits of a container with which users request a share, beside or instead of {@link UNITS}, with which the webhook replaces them. */
export const SHARE_LIMITS = {
  num: "bitfusion.io/gpu-num",
  amount: "bitfusion.io/gpu-amount",
  percent: "bitfusion.io/gpu-percent",
  memory: "bitfusion.io/gpu-memory",
} as const;

/** The extended resource that Kubernetes counts: units of one percent of one GPU. */
export const UNITS = RESOURCE_NAME;

/** The extended resource of NVIDIA's device plugin: whole GPUs. Charts request it. */
export const NVIDIA_GPU = "nvidia.com/gpu";

/** Variable with the name of its container: every container has it that the webhook has attached a client to. */
export const CONTAINER_VARIABLE = "BITFUSION_CONTAINER";
