import { CLAIM_ANNOTATIONS } from "../../pool/driver.ts";

/** Annotations of a pod that are this project's. */
export const ANNOTATIONS = {
  mode: "auto-management/bitfusion",
  status: "auto-management/status",
  os: "bitfusion-client/os",
  version: "bitfusion-client/version",
  filter: CLAIM_ANNOTATIONS.filter,
} as const;

/** What a user asks for in a container's limits. */
export const ASKED = {
  num: "bitfusion.io/gpu-num",
  amount: "bitfusion.io/gpu-amount",
  percent: "bitfusion.io/gpu-percent",
  memory: "bitfusion.io/gpu-memory",
} as const;

/** What Kubernetes counts instead: units of one percent of one GPU. */
export const UNITS = "bitfusion.io/gpu";

/** Where the pool's tokens are, and what they are called in each namespace. */
export const TOKENS = { namespace: "kube-system", name: "bitfusion-secret" } as const;

/** The version of AdmissionReviews that is spoken here. */
export const REVIEW_VERSION = "admission.k8s.io/v1";
