/** Name of the DRA driver of the pool's GPUs (resource.k8s.io), and the domain of their attributes. */
export const DRIVER = "bitfusion.io";

/** The attribute that GPUs of one server have in common. */
export const SERVER_ATTRIBUTE = `${DRIVER}/server`;

/** Name of the DeviceClass of the pool's GPUs. */
export const DEVICE_CLASS = "bitfusion.io";

/** The extended resource that Kubernetes counts: units of one percent of one GPU. */
export const RESOURCE_NAME = "bitfusion.io/gpu";

/** The label of nodes on which the driver is ready: only these can run pods with a share of the pool. */
export const READY_NODE_LABEL = "bitfusion.io/driver-ready";

/** The query parameters that select the driver's ResourceSlices. */
export const DRIVER_SLICES = { fieldSelector: `spec.driver=${DRIVER}` };

/**
 * Annotation of the first ResourceSlice: the number of GPUs of the whole pool, in all slices together. Absent while a configured server has
 * not reported its GPUs. GPUs that have left the pool do not count.
 */
export const POOL_GPUS_ANNOTATION = "bitfusion.io/pool-gpus";

/** The taint of a device whose GPU has left the pool. It is published only until the claims that hold it end. */
export const GONE_TAINT = "bitfusion.io/gone";

/** Annotations of a ResourceClaim with the request of its pod. */
export const CLAIM_ANNOTATIONS = {
  /** The share, in the format of formatShare(). */
  share: "bitfusion.io/share",
  /** The containers that use the claim, separated by spaces. */
  containers: "bitfusion.io/containers",
  /** The filters, in the format of the pod's annotation. */
  filter: "bitfusion-client/filter",
} as const;

/** The most devices that a ResourceClaim can hold (AllocationResultsMaxSize, k8s.io/api/resource/v1/types.go). */
export const MAX_GPUS_PER_CLAIM = 32;

/**
 * The most filters of a claim. A request has at most 32 selectors (DeviceSelectorsMaxSize, k8s.io/api/resource/v1/types.go): one for each
 * filter, and one for the memory of a memory share.
 */
export const MAX_FILTERS = 31;
