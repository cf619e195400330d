import type { Pointer } from "bun:ffi";
import { type NvmlDevice, type NvmlProcess, STATUS } from "./answers.ts";
import { expectNvmlError, type NvmlLibrary } from "./library.ts";

// The layouts of structures are those of nvml.h 13.3.

/** nvmlProcessInfo_t: pid at 0, usedGpuMemory at 8 */
const INFO_SIZE = 24;
/** nvmlProcessUtilizationSample_t: pid at 0, timeStamp at 8, smUtil at 16 */
const SAMPLE_SIZE = 32;

/** NVML_VALUE_NOT_AVAILABLE */
const NOT_AVAILABLE = 2n ** 64n - 1n;

/** Entries that a list is given room for at first, and the most. */
const [ROOM, MAX_ROOM] = [1024, 65_536];

/** Returns the processes that use a GPU now, and how busy they have kept it since the last call. */
export type ProcessReader = () => Pick<NvmlDevice, "processes">;

export function createProcessReader(nvml: NvmlLibrary, handle: Pointer): ProcessReader {
  let lastSeen = 0n;
  return () => {
    const { processes } = listProcesses(nvml, handle);
    if (!processes) return {};
    const samples = readSamples(nvml, handle, lastSeen);
    if (!samples) return { processes };
    const newest = new Map<number, number>();
    for (const { pid, time, utilization } of samples.sort((a, b) => Number(a.time - b.time))) {
      newest.set(pid, utilization);
      lastSeen = time;
    }
    return { processes: processes.map((process) => ({ ...process, utilization: newest.get(process.pid) ?? 0 })) };
  };
}

/** The processes that use a GPU or a MIG device. One with contexts of both kinds is in both lists, each with all of its memory. */
export function listProcesses(nvml: NvmlLibrary, handle: Pointer): Pick<NvmlDevice, "processes"> {
  const read = (call: "nvmlDeviceGetComputeRunningProcesses_v3" | "nvmlDeviceGetGraphicsRunningProcesses_v3") =>
    readList(INFO_SIZE, (count, entries) => nvml.supports(call, handle, count, entries));
  const compute = read("nvmlDeviceGetComputeRunningProcesses_v3");
  if (!compute) return {};
  const graphics = read("nvmlDeviceGetGraphicsRunningProcesses_v3") ?? [];
  const memory = new Map<number, bigint>();
  for (const info of [...compute, ...graphics]) {
    const [pid, used] = [info.getUint32(0, true), info.getBigUint64(8, true)];
    if (used === NOT_AVAILABLE) return {};
    if (used >= (memory.get(pid) ?? 0n)) memory.set(pid, used);
  }
  return { processes: [...memory].map(([pid, used]): NvmlProcess => ({ pid, memory: Number(used) })) };
}

/** A process that was not idle. */
interface Sample {
  readonly pid: number;
  /** By the clock of the driver. */
  readonly time: bigint;
  /** In percent. */
  readonly utilization: number;
}

/** Undefined if NVML does not tell them for this GPU. */
function readSamples(nvml: NvmlLibrary, handle: Pointer, after: bigint): Sample[] | undefined {
  try {
    const samples = readList(SAMPLE_SIZE, (count, entries) =>
      nvml.supports("nvmlDeviceGetProcessUtilization", handle, entries, count, after),
    );
    return samples?.map((sample) => ({
      pid: sample.getUint32(0, true),
      time: sample.getBigUint64(8, true),
      utilization: Math.min(100, sample.getUint32(16, true)),
    }));
  } catch (error) {
    if (expectNvmlError(error).status === STATUS.notFound) return []; // all were idle
    throw error;
  }
}

/**
 * Reads a list of structures of one size. `read` sets the number of entries that it has been given room for to that which there are. Returns
 * undefined if NVML does not tell them.
 */
function readList(
  size: number,
  read: (count: Uint32Array, entries: Uint8Array) => boolean,
): readonly DataView[] | undefined {
  for (let room = ROOM; ; room *= 4) {
    const [count, entries] = [Uint32Array.of(room), new Uint8Array(room * size)];
    try {
      if (!read(count, entries)) return undefined;
      return Array.from({ length: count[0] ?? 0 }, (_, index) => new DataView(entries.buffer, index * size, size));
    } catch (error) {
      const { status } = expectNvmlError(error);
      if (status === STATUS.noPermission) return undefined;
      if (status !== STATUS.insufficientSize || room >= MAX_ROOM) throw error;
    }
  }
}
