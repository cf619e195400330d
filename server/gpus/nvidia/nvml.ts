import type { Pointer } from "bun:ffi";
import { ConfigError } from "../../../program/config_error.ts";
import { type NvmlAnswers, type NvmlXid, STATUS } from "./answers.ts";
import { type OpenDevice, openDevice, readDevice } from "./device.ts";
import { loadNvml, NvmlError, type NvmlLibrary } from "./library.ts";

/** NVIDIA's management library, initialized. Its calls block, and for long if the driver hangs. */
export interface Nvml extends Disposable {
  /**
   * Waits until a GPU has an Xid error, `wait` ms at most, and asks all GPUs.
   *
   * @throws {NvmlError} if NVML itself fails. If a GPU fails, the answers say so.
   */
  read(wait: number): NvmlAnswers;
}

/** An instance that an event does not tell. */
const NO_INSTANCE = 0xffff_ffff;
/** The most Xid errors in one answer. NVML keeps the others until the next. */
const MAX_XIDS = 1000;

/** @throws {ConfigError} if NVML cannot be loaded or initialized, or there is no GPU. See {@link loadNvml}. */
export function openNvml(path: string): Nvml {
  using resources = new DisposableStack();
  const nvml = resources.use(loadNvml(path));
  try {
    nvml.call("nvmlInit_v2");
  } catch (error) {
    throw new ConfigError(`Cannot use the GPUs: ${(error as Error).message}: expected that nvidia-smi works here`);
  }
  resources.defer(() => nvml.call("nvmlShutdown"));
  const events = nvml.readPointer("nvmlEventSetCreate");
  const count = nvml.readNumber("nvmlDeviceGetCount_v2");
  const devices = Array.from({ length: count }, (_, index) => openDevice(nvml, index, events)).filter(
    (device) => device !== undefined,
  );
  if (devices.length === 0) throw new ConfigError("Cannot use the GPUs: NVML finds none that this program may use");
  const versions = readVersions(nvml);
  const opened = resources.move();
  return {
    read: (wait) => {
      const xids = readXids(nvml, events, devices, wait); // first: what it tells explains the answers
      return { ...versions, devices: devices.map((device) => readDevice(nvml, device)), xids };
    },
    [Symbol.dispose]: () => opened.dispose(),
  };
}

function readVersions(nvml: NvmlLibrary): Pick<NvmlAnswers, "driverVersion" | "cudaVersion"> {
  const cuda = nvml.readNumber("nvmlSystemGetCudaDriverVersion_v2"); // 1000 × major + 10 × minor
  return {
    driverVersion: nvml.readText("nvmlSystemGetDriverVersion"),
    cudaVersion: `${Math.floor(cuda / 1000)}.${Math.floor((cuda % 1000) / 10)}`,
  };
}

function readXids(nvml: NvmlLibrary, events: Pointer, devices: readonly OpenDevice[], wait: number): NvmlXid[] {
  const xids: NvmlXid[] = [];
  // nvmlEventData_t: device at 0, eventType at 8, eventData at 16, gpuInstanceId at 24, computeInstanceId at 28
  const event = new DataView(new ArrayBuffer(32));
  while (xids.length < MAX_XIDS) {
    try {
      nvml.call("nvmlEventSetWait_v2", events, new Uint8Array(event.buffer), xids.length === 0 ? wait : 0);
    } catch (error) {
      // a GPU that is lost: the answers say which one
      if (error instanceof NvmlError && [STATUS.timeout, STATUS.gpuLost].includes(error.status)) break;
      throw error;
    }
    const handle = Number(event.getBigUint64(0, true));
    const device = devices.find((each) => "handle" in each && each.handle === handle);
    if (!device || !("identity" in device)) continue;
    const [gpuInstance, computeInstance] = [event.getUint32(24, true), event.getUint32(28, true)];
    const isWhole = gpuInstance === NO_INSTANCE || computeInstance === NO_INSTANCE;
    xids.push({
      uuid: device.identity.uuid,
      xid: Number(event.getBigUint64(16, true)),
      ...(isWhole ? {} : { instance: { gpuInstance, computeInstance } }),
    });
  }
  return xids;
}
