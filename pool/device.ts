/** Name of the driver that the pool's GPUs have in Kubernetes (resource.k8s.io), and the domain of their attributes. */
export const DRIVER = "bitfusion.io";

/** The DeviceClass of all of them. */
export const DEVICE_CLASS = "bitfusion.io";
