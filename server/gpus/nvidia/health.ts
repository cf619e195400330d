import { isDeepStrictEqual } from "node:util";
import type { ServerGpu } from "../gpu.ts";
import { type NvmlAnswers, type NvmlDevice, type NvmlIdentity, type NvmlXid, STATUS } from "./answers.ts";

/** A GPU, or a MIG device, and what is remembered of it. */
export interface NvidiaGpu extends ServerGpu {
  /** UUID of the GPU, also for a MIG device. */
  readonly device: string;
  /** The Xid error that made it unhealthy, and the time of the last one, in ms. */
  readonly xid?: { readonly number: number; readonly at: number };
  /** Whether NVML could not reach it. */
  readonly isAway: boolean;
}

/**
 * Xid errors that applications cause. "The GPU should still be healthy": the list of NVIDIA's device plugin
 * (github.com/NVIDIA/k8s-device-plugin, internal/rm/health.go).
 */
const APPLICATION_XIDS: readonly number[] = [
  13, // Graphics engine exception
  31, // GPU memory page fault
  43, // GPU stopped processing
  45, // Preemptive cleanup, due to previous errors
  68, // Video processor exception
  109, // Context switch timeout
];

/**
 * How long after an Xid error a GPU stays unhealthy at least, in ms, although the driver says that nothing must be done: it may say so before
 * it has found out.
 */
const XID_TIME = 60_000;

/** Problems by nvmlReturn_t. */
const STATUS_PROBLEMS: Readonly<Record<number, string>> = {
  [STATUS.insufficientPower]: "insufficient-power",
  [STATUS.irqIssue]: "interrupt-issue",
  [STATUS.gpuLost]: "gpu-lost",
  [STATUS.resetRequired]: "reset-required",
};

/** Problems by nvmlDeviceGpuRecoveryAction_t. 0: nothing must be done. */
const RECOVERY_PROBLEMS = [
  undefined,
  "reset-required",
  "reboot-required",
  "drain-p2p-required",
  "drain-and-reset-required",
  "imex-recovery-required",
];

/**
 * The GPUs after NVML's answers:
 *
 * - A GPU that is partitioned (MIG) is its MIG devices.
 * - A GPU keeps its number. One that NVML does not reach any more stays, unhealthy, as when it has fallen off the bus. A MIG device that was
 *   removed goes.
 * - An Xid error makes a GPU unhealthy, unless an application caused it. It is healthy again when the driver says that nothing must be done,
 *   or when it was away, as during a reset, and is back. The first error is the cause of those that follow.
 *
 * @param before those after the earlier answers
 * @param now in ms
 */
export function nextGpus(
  before: readonly NvidiaGpu[],
  { devices, xids }: Pick<NvmlAnswers, "devices" | "xids">,
  now: number,
): readonly NvidiaGpu[] {
  const identified = devices.filter((device) => device.identity !== undefined);
  const reached = identified.flatMap((device) => partsOf(device, before).map((part) => ({ device, part })));
  const lost = before
    .filter((gpu) => identified.every(({ identity }) => identity?.uuid !== gpu.device))
    .map((part) => ({ device: LOST, part }));
  let free = Math.max(-1, ...before.map(({ number }) => number)) + 1;
  const gpus = [...lost, ...reached].map(({ device, part }): NvidiaGpu => {
    const { id, model, memoryMb, instance } = part;
    const known = before.find((gpu) => gpu.id === id);
    const xid = xidOf(part, known, { device, xids, now });
    const problem = xid ? `xid-${xid.number}` : problemOf(device);
    return {
      number: known?.number ?? free++,
      id,
      model,
      memoryMb,
      healthy: problem === undefined,
      ...(problem === undefined ? {} : { problem }),
      device: part.device,
      ...(instance ? { instance } : {}),
      ...(xid ? { xid } : {}),
      isAway: device.status !== 0,
    };
  });
  return gpus.sort((a, b) => a.number - b.number);
}

/** The GPUs while NVML does not answer. */
export function unansweredGpus(before: readonly NvidiaGpu[]): readonly NvidiaGpu[] {
  return before.map((gpu) => ({ ...gpu, healthy: false, problem: gpu.problem ?? "nvml-failed" }));
}

/** What identifies a GPU or a MIG device. */
type Part = Pick<NvidiaGpu, "id" | "model" | "memoryMb" | "device" | "instance">;

/** A GPU that NVML does not list. */
const LOST: NvmlDevice = { status: STATUS.gpuLost };

/** The MIG devices of a GPU, or the GPU itself. One that does not answer has those that it had. */
function partsOf({ identity, status, migDevices }: NvmlDevice, before: readonly NvidiaGpu[]): readonly Part[] {
  if (!identity) return [];
  const known = before.filter(({ device }) => device === identity.uuid);
  if (status !== 0 && known.length > 0) return known;
  const partOf = ({ uuid, name, memory }: NvmlIdentity): Part => {
    return { id: uuid, model: name, memoryMb: Math.floor(memory / 1e6), device: identity.uuid };
  };
  if (!migDevices) return [partOf(identity)];
  return migDevices.map(({ gpuInstance, computeInstance, ...device }) => {
    return { ...partOf(device), instance: { gpuInstance, computeInstance } };
  });
}

function xidOf(
  part: Part,
  known: NvidiaGpu | undefined,
  { device, xids, now }: { device: NvmlDevice; xids: readonly NvmlXid[]; now: number },
): NvidiaGpu["xid"] {
  const before = known && isRecovered(known, device, now) ? undefined : known?.xid;
  const [first] = xids.filter((each) => concerns(each, part) && !APPLICATION_XIDS.includes(each.xid));
  return first ? { number: before?.number ?? first.xid, at: now } : before;
}

function isRecovered({ xid, isAway }: NvidiaGpu, { status, recoveryAction }: NvmlDevice, now: number): boolean {
  if (!xid || status !== 0 || (recoveryAction ?? 0) !== 0) return false;
  return isAway || (recoveryAction === 0 && now - xid.at >= XID_TIME);
}

function concerns({ uuid, instance }: NvmlXid, part: Part): boolean {
  if (uuid !== part.device) return false;
  return !instance || !part.instance || isDeepStrictEqual(instance, part.instance);
}

function problemOf({
  status,
  recoveryAction = 0,
  rowRemapFailed,
  retiredPagesPending,
}: NvmlDevice): string | undefined {
  if (status !== 0) return STATUS_PROBLEMS[status] ?? `nvml-error-${status}`;
  if (recoveryAction !== 0) return RECOVERY_PROBLEMS[recoveryAction] ?? `recovery-action-${recoveryAction}`;
  if (rowRemapFailed) return "row-remap-failed";
  return retiredPagesPending ? "retired-pages-pending" : undefined;
}
