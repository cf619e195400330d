import type { ServerFacts } from "../../pool/inventory.ts";
import type { ServerGpu } from "./gpu.ts";

/** The GPUs of a server. */
export interface GpuSource extends AsyncDisposable {
  readonly facts: Pick<ServerFacts, "cudaVersion" | "driverVersion">;
  /** The GPUs now. */
  readonly gpus: readonly ServerGpu[];
  /** Calls `listener` with the GPUs now, and after each change. */
  onChange(listener: (gpus: readonly ServerGpu[]) => void): void;
  /**
   * Calls `listener` at each reading, about once a second, with the processes of all GPUs. It is called with none while they cannot be read, and
   * never for simulated GPUs.
   */
  onProcesses(listener: (gpus: readonly GpuProcesses[]) => void): void;
}

/** The processes of a GPU. */
export interface GpuProcesses {
  readonly gpuId: string;
  /** Undefined if the GPU does not tell them. */
  readonly processes?: readonly GpuProcess[] | undefined;
}

export interface GpuProcess {
  readonly pid: number;
  /** In MB. */
  readonly memoryMb: number;
  /** Percent of the time in which it has used the GPU. Absent if the GPU does not tell it. */
  readonly utilization?: number;
}
