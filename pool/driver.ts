/** Name of the DRA driver of the pool's GPUs (resource.k8s.io), and the domain of their attributes. */
export const DRIVER = "bitfusion.io";

/** Name of the DeviceClass of the pool's GPUs. */
export const DEVICE_CLASS = "bitfusion.io";

/** Annotations of a ResourceClaim that repeat what its pod asked for. */
export const CLAIM_ANNOTATIONS = {
  /** A share in the format of formatShare(). */
  share: "bitfusion.io/share",
  /** Filters, as in the annotation of the pod. */
  filter: "bitfusion-client/filter",
} as const;
