/** What NVML answers at one time. The numbers of enums are those of nvml.h. */
export interface NvmlAnswers {
  readonly driverVersion: string;
  /** The newest CUDA version that the driver supports, such as "12.4". */
  readonly cudaVersion: string;
  readonly devices: readonly NvmlDevice[];
  /** The Xid errors since the last answers. */
  readonly xids: readonly NvmlXid[];
}

/** A GPU of the machine. */
export interface NvmlDevice {
  /** Absent if NVML could not identify the GPU when it was opened. */
  readonly identity?: NvmlIdentity;
  /** nvmlReturn_t of the first call that failed; 0 if none did. What follows is absent then. */
  readonly status: number;
  /** nvmlDeviceGpuRecoveryAction_t. Absent before driver 565. */
  readonly recoveryAction?: number;
  /** Whether a row of its memory could not be replaced by a spare one. Absent before Ampere, and with MIG. */
  readonly rowRemapFailed?: boolean;
  /** Whether pages of its memory with errors are in use until a reset. Absent since Ampere. */
  readonly retiredPagesPending?: boolean;
  /** The processes that use it. Absent if NVML does not tell them, or if it is partitioned. */
  readonly processes?: readonly NvmlProcess[];
  /** Present if it is partitioned (MIG). */
  readonly migDevices?: readonly NvmlMigDevice[];
}

export interface NvmlIdentity {
  readonly uuid: string;
  /** Product name. */
  readonly name: string;
  /** In bytes. */
  readonly memory: number;
}

export interface NvmlMigDevice extends NvmlIdentity {
  readonly gpuInstance: number;
  readonly computeInstance: number;
  /** The processes that use it. Absent if NVML does not tell them. */
  readonly processes?: readonly NvmlProcess[];
}

/** A process with a context on a GPU. */
export interface NvmlProcess {
  /** In the process namespace of the reader; with old drivers, in that of the machine. */
  readonly pid: number;
  /** In bytes, with what the driver keeps for the process. */
  readonly memory: number;
  /** Percent of the time in which its kernels ran, in the last sample. Absent if NVML does not tell it, as for MIG devices. */
  readonly utilization?: number;
}

export interface NvmlXid {
  /** Number in NVIDIA's list (https://docs.nvidia.com/deploy/xid-errors/). */
  readonly xid: number;
  /** That of the GPU. */
  readonly uuid: string;
  /** The MIG device that it concerns. Absent if it is the whole GPU. */
  readonly instance?: Pick<NvmlMigDevice, "gpuInstance" | "computeInstance">;
}

/** nvmlReturn_t */
export const STATUS = {
  notSupported: 3,
  noPermission: 4,
  notFound: 6,
  insufficientSize: 7,
  insufficientPower: 8,
  driverNotLoaded: 9,
  timeout: 10,
  irqIssue: 11,
  functionNotFound: 13,
  gpuLost: 15,
  resetRequired: 16,
  versionMismatch: 18,
} satisfies Record<string, number>;
