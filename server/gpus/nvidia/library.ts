import { CString, dlopen, type Pointer } from "bun:ffi";
import { ConfigError } from "../../../program/config_error.ts";
import { STATUS } from "./answers.ts";

/** The functions of NVML that a server uses. Each returns an nvmlReturn_t, but nvmlErrorString. */
const FUNCTIONS = {
  nvmlInit_v2: { args: [], returns: "i32" },
  nvmlShutdown: { args: [], returns: "i32" },
  nvmlErrorString: { args: ["i32"], returns: "ptr" },
  nvmlSystemGetDriverVersion: { args: ["ptr", "u32"], returns: "i32" },
  nvmlSystemGetCudaDriverVersion_v2: { args: ["ptr"], returns: "i32" },
  nvmlDeviceGetCount_v2: { args: ["ptr"], returns: "i32" },
  nvmlDeviceGetHandleByIndex_v2: { args: ["u32", "ptr"], returns: "i32" },
  nvmlDeviceGetUUID: { args: ["ptr", "ptr", "u32"], returns: "i32" },
  nvmlDeviceGetName: { args: ["ptr", "ptr", "u32"], returns: "i32" },
  nvmlDeviceGetMemoryInfo: { args: ["ptr", "ptr"], returns: "i32" },
  nvmlDeviceGetFieldValues: { args: ["ptr", "i32", "ptr"], returns: "i32" },
  nvmlDeviceGetRemappedRows: { args: ["ptr", "ptr", "ptr", "ptr", "ptr"], returns: "i32" },
  nvmlDeviceGetRetiredPagesPendingStatus: { args: ["ptr", "ptr"], returns: "i32" },
  nvmlDeviceGetMigMode: { args: ["ptr", "ptr", "ptr"], returns: "i32" },
  nvmlDeviceGetMaxMigDeviceCount: { args: ["ptr", "ptr"], returns: "i32" },
  nvmlDeviceGetMigDeviceHandleByIndex: { args: ["ptr", "u32", "ptr"], returns: "i32" },
  nvmlDeviceGetGpuInstanceId: { args: ["ptr", "ptr"], returns: "i32" },
  nvmlDeviceGetComputeInstanceId: { args: ["ptr", "ptr"], returns: "i32" },
  nvmlDeviceGetComputeRunningProcesses_v3: { args: ["ptr", "ptr", "ptr"], returns: "i32" },
  nvmlDeviceGetGraphicsRunningProcesses_v3: { args: ["ptr", "ptr", "ptr"], returns: "i32" },
  nvmlDeviceGetProcessUtilization: { args: ["ptr", "ptr", "ptr", "u64"], returns: "i32" },
  nvmlEventSetCreate: { args: ["ptr"], returns: "i32" },
  nvmlDeviceRegisterEvents: { args: ["ptr", "u64", "ptr"], returns: "i32" },
  nvmlEventSetWait_v2: { args: ["ptr", "ptr", "u32"], returns: "i32" },
} as const;

type FunctionName = keyof typeof FUNCTIONS;
type Argument = number | bigint | NodeJS.TypedArray;

/** Bytes of the longest text (NVML_DEVICE_UUID_V2_BUFFER_SIZE of nvml.h). */
const TEXT_SIZE = 96;

/** A call of NVML failed. */
export class NvmlError extends Error {
  override name = "NvmlError";
  /** nvmlReturn_t */
  readonly status: number;

  constructor(call: string, status: number, reason: string) {
    super(`${call} failed: ${reason}`);
    this.status = status;
  }
}

/** @throws any other error. */
export function expectNvmlError(error: unknown): NvmlError {
  if (error instanceof NvmlError) return error;
  throw error;
}

/** A loaded libnvidia-ml. Each method throws an {@link NvmlError} if the call fails. */
export interface NvmlLibrary extends Disposable {
  call(name: FunctionName, ...args: Argument[]): void;
  /** Whether the GPU or the driver has what was asked for. */
  supports(name: FunctionName, ...args: Argument[]): boolean;
  /** Calls a function whose last argument is a number that it sets. */
  readNumber(name: FunctionName, ...args: Argument[]): number;
  /** Calls a function whose last argument is a pointer that it sets. */
  readPointer(name: FunctionName, ...args: Argument[]): Pointer;
  /** Calls a function whose last arguments are a text that it sets, and its size. */
  readText(name: FunctionName, ...args: Argument[]): string;
}

/**
 * Loads libnvidia-ml.
 *
 * @param path a path, or a name that the dynamic linker finds
 * @throws {ConfigError} if there is no such library, or it is too old.
 */
export function loadNvml(path: string): NvmlLibrary {
  const { symbols, close } = open(path);
  const status = (name: FunctionName, args: readonly Argument[]) =>
    (symbols[name] as (...args: readonly unknown[]) => number)(...args);

  function check(name: FunctionName, result: number): void {
    if (result !== 0)
      throw new NvmlError(name, result, String(new CString(symbols.nvmlErrorString(result) as Pointer)));
  }
  return {
    call: (name, ...args) => check(name, status(name, args)),
    supports(name, ...args) {
      const result = status(name, args);
      if (result === STATUS.notSupported || result === STATUS.functionNotFound) return false;
      check(name, result);
      return true;
    },
    readNumber(name, ...args) {
      const out = new Uint32Array(1);
      check(name, status(name, [...args, out]));
      return out[0] as number;
    },
    readPointer(name, ...args) {
      const out = new BigUint64Array(1);
      check(name, status(name, [...args, out]));
      return Number(out[0]) as Pointer; // below 2^48
    },
    readText(name, ...args) {
      const out = new Uint8Array(TEXT_SIZE);
      check(name, status(name, [...args, out, TEXT_SIZE]));
      return new TextDecoder().decode(out.subarray(0, out.indexOf(0)));
    },
    [Symbol.dispose]: close,
  };
}

function open(path: string) {
  try {
    return dlopen(path, FUNCTIONS);
  } catch (error) {
    const { message } = error as Error;
    throw new ConfigError(
      message.startsWith("Symbol")
        ? `Cannot use ${path}: it lacks a function of NVML: expected NVIDIA's driver 510 or later`
        : `Cannot load ${path}: expected NVIDIA's driver on this machine, and in a container its libraries, as with docker run --gpus all`,
    );
  }
}
