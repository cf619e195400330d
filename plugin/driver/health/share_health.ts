import { deviceName } from "../../../pool/device_name.ts";
import { escapeControls, shorten } from "../../../program/text/quote.ts";
import type { GpuShare } from "../claims/claim.ts";
import type { HeldLease } from "../leases/held_lease.ts";
import type { ClaimHealth, LeaseHealth } from "./lease_health.ts";

/** What users are told about a share of a claim. */
export interface ShareHealth {
  readonly share: GpuShare;
  readonly lease: HeldLease;
  readonly gpuId: string;
  /** When the driver found this out, in ms since the epoch. */
  readonly checkedAt: number;
  /** As in {@link LeaseHealth}. */
  readonly renewedAt: number | undefined;
  readonly verdict: Verdict;
}

interface Verdict {
  /** Whether the share can be used. */
  readonly status: "True" | "False" | "Unknown";
  readonly reason: "LeaseHeld" | "GpuUnhealthy" | "LeaseNotRenewed" | "HealthUnknown";
  readonly message: string;
}

/** Longest text of a server in a message, in characters. A pod's status has room for 1024 bytes in total. */
const MAX_TEXT = 500;

/** The health of each share of a claim. */
export function sharesOf({ claim, leases }: ClaimHealth): ShareHealth[] {
  const gpus = new Map(
    claim.leases.flatMap((lease) => lease.gpuIds.map((gpuId) => [deviceName(gpuId), { lease, gpuId }] as const)),
  );
  return claim.shares.flatMap((share) => {
    const { lease, gpuId = "" } = gpus.get(share.device) ?? {};
    const health = leases.get(lease?.leaseId ?? "");
    if (!lease || !health) return [];
    const { checkedAt, renewedAt } = health;
    return [{ share, lease, gpuId, checkedAt, renewedAt, verdict: judge(gpuId, lease, health) }];
  });
}

function judge(gpuId: string, { address }: HeldLease, { failure, gpus }: LeaseHealth): Verdict {
  if (failure !== undefined) {
    const message = `Cannot renew the lease on GPU ${gpuId}: ${bounded(failure)}`;
    return { status: "False", reason: "LeaseNotRenewed", message };
  }
  const gpu = gpus.find(({ id }) => id === gpuId);
  if (!gpu) {
    const message = `Pool server ${address} does not report the health of GPU ${gpuId}`;
    return { status: "Unknown", reason: "HealthUnknown", message };
  }
  if (gpu.healthy) {
    return { status: "True", reason: "LeaseHeld", message: `GPU ${gpuId} of pool server ${address} is healthy` };
  }
  const why = gpu.problem ? `: ${bounded(gpu.problem)}` : "";
  const message = `Pool server ${address} reports GPU ${gpuId} as unhealthy${why}`;
  return { status: "False", reason: "GpuUnhealthy", message };
}

function bounded(text: string): string {
  return shorten(escapeControls(text), MAX_TEXT);
}
