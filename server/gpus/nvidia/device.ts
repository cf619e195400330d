import type { Pointer } from "bun:ffi";
import { type NvmlDevice, type NvmlIdentity, type NvmlMigDevice, STATUS } from "./answers.ts";
import { expectNvmlError, type NvmlLibrary } from "./library.ts";
import { createProcessReader, listProcesses, type ProcessReader } from "./processes.ts";

// Constants and the layouts of structures are those of nvml.h 13.3 (github.com/NVIDIA/go-nvml, gen/nvml/nvml.h).

/** nvmlEventTypeXidCriticalError */
const XID_EVENT = 8n;
/** NVML_FI_DEV_GET_GPU_RECOVERY_ACTION */
const RECOVERY_ACTION = 230;

/** A GPU as it was when NVML was initialized. */
export type OpenDevice =
  | { readonly handle: Pointer; readonly identity: NvmlIdentity; readonly readProcesses: ProcessReader }
  /** It could not be identified. */
  | { readonly status: number };

/**
 * Opens the GPU at an index, and adds its Xid errors to a set of events. Returns undefined if this process may not use it, as in a container
 * that was given others.
 */
export function openDevice(nvml: NvmlLibrary, index: number, events: Pointer): OpenDevice | undefined {
  try {
    const handle = nvml.readPointer("nvmlDeviceGetHandleByIndex_v2", index);
    const identity = identify(nvml, handle);
    nvml.supports("nvmlDeviceRegisterEvents", handle, XID_EVENT, events); // GPUs before Kepler tell no events
    return { handle, identity, readProcesses: createProcessReader(nvml, handle) };
  } catch (error) {
    const { status } = expectNvmlError(error);
    return status === STATUS.noPermission ? undefined : { status };
  }
}

/** What NVML says about a GPU now. */
export function readDevice(nvml: NvmlLibrary, device: OpenDevice): NvmlDevice {
  if ("status" in device) return device;
  const { handle, identity, readProcesses } = device;
  try {
    identify(nvml, handle); // fails if the GPU does not answer
    return {
      identity,
      status: 0,
      ...readRecoveryAction(nvml, handle),
      ...readMemoryFaults(nvml, handle),
      ...(readMigDevices(nvml, handle) ?? readProcesses()),
    };
  } catch (error) {
    return { identity, status: expectNvmlError(error).status };
  }
}

function identify(nvml: NvmlLibrary, handle: Pointer): NvmlIdentity {
  const memory = new BigUint64Array(3); // nvmlMemory_t: total, free, used
  nvml.call("nvmlDeviceGetMemoryInfo", handle, memory);
  const uuid = nvml.readText("nvmlDeviceGetUUID", handle);
  return { uuid, name: nvml.readText("nvmlDeviceGetName", handle), memory: Number(memory[0]) };
}

function readRecoveryAction(nvml: NvmlLibrary, handle: Pointer): Pick<NvmlDevice, "recoveryAction"> {
  const field = new DataView(new ArrayBuffer(40)); // nvmlFieldValue_t: fieldId at 0, nvmlReturn at 28, value at 32
  field.setUint32(0, RECOVERY_ACTION, true);
  if (!nvml.supports("nvmlDeviceGetFieldValues", handle, 1, new Uint8Array(field.buffer))) return {};
  return field.getInt32(28, true) === 0 ? { recoveryAction: field.getUint32(32, true) } : {};
}

function readMemoryFaults(
  nvml: NvmlLibrary,
  handle: Pointer,
): Pick<NvmlDevice, "rowRemapFailed" | "retiredPagesPending"> {
  const [corrected, uncorrected, pending, failed, retired] = [number(), number(), number(), number(), number()];
  const hasRows = nvml.supports("nvmlDeviceGetRemappedRows", handle, corrected, uncorrected, pending, failed);
  const hasPages = nvml.supports("nvmlDeviceGetRetiredPagesPendingStatus", handle, retired);
  return {
    ...(hasRows ? { rowRemapFailed: failed[0] === 1 } : {}),
    ...(hasPages ? { retiredPagesPending: retired[0] === 1 } : {}),
  };
}

/** Undefined if the GPU is not partitioned. */
function readMigDevices(nvml: NvmlLibrary, handle: Pointer): Pick<NvmlDevice, "migDevices"> | undefined {
  const [current, pending] = [number(), number()];
  if (!nvml.supports("nvmlDeviceGetMigMode", handle, current, pending) || current[0] !== 1) return undefined;
  const migDevices: NvmlMigDevice[] = [];
  const count = nvml.readNumber("nvmlDeviceGetMaxMigDeviceCount", handle);
  for (let index = 0; index < count; index++) {
    const device = readMigDevice(nvml, handle, index);
    if (device) migDevices.push(device);
  }
  return { migDevices };
}

function readMigDevice(nvml: NvmlLibrary, parent: Pointer, index: number): NvmlMigDevice | undefined {
  try {
    const handle = nvml.readPointer("nvmlDeviceGetMigDeviceHandleByIndex", parent, index);
    const gpuInstance = nvml.readNumber("nvmlDeviceGetGpuInstanceId", handle);
    const computeInstance = nvml.readNumber("nvmlDeviceGetComputeInstanceId", handle);
    return { ...identify(nvml, handle), gpuInstance, computeInstance, ...listProcesses(nvml, handle) };
  } catch (error) {
    if (expectNvmlError(error).status === STATUS.notFound) return undefined;
    throw error;
  }
}

/** A number that a function of NVML sets. */
function number(): Uint32Array {
  return new Uint32Array(1);
}
