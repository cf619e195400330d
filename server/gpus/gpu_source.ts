import type { ServerFacts } from "../../pool/inventory.ts";
import type { ServerGpu } from "./gpu.ts";

/** The GPUs of a server. */
export interface GpuSource extends AsyncDisposable {
  readonly facts: Pick<ServerFacts, "cudaVersion" | "driverVersion">;
  /** The GPUs now. */
  readonly gpus: readonly ServerGpu[];
  /** Calls `listener` with the GPUs now, and after each change. */
  onChange(listener: (gpus: readonly ServerGpu[]) => void): void;
}
