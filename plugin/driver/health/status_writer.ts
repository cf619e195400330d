import { isStatus } from "../../../kubernetes/error.ts";
import { claimPath, type DeviceStatus, type ResourceClaim } from "../../../kubernetes/objects/resource_claim.ts";
import type { KubernetesRequest } from "../../../kubernetes/request.ts";
import type { Latest } from "../../../program/latest.ts";
import { type Logger, messageOf } from "../../../program/log/log.ts";
import type { ClaimId, ReadClaim } from "../claims/claim.ts";
import { deviceStatuses, isDue, MIN_PAUSE, type WrittenStatus, writtenStatus } from "./claim_status.ts";
import type { ClaimHealth, NodeHealth } from "./lease_health.ts";

export interface StatusWriterOptions {
  health: Latest<NodeHealth>;
  readClaim: ReadClaim;
  request: KubernetesRequest;
  log: Logger;
  /** In ms since the epoch. */
  now?: () => number;
  signal: AbortSignal;
}

/** The owner of the fields that the driver writes (server-side apply). The same on all nodes: another node takes them over. */
const FIELD_MANAGER = "bitfusion-driver";

/**
 * Writes the state of leases to the status of their claims, where the claims' users can read it. A claim is read before its first write, so that a
 * restart of the driver changes nothing. One at a time, after each round of renewals; a failed write is tried again in a minute. Returns when the
 * signal is aborted.
 */
export async function runStatusWriter(options: StatusWriterOptions): Promise<void> {
  const { health, readClaim, request, log, now = Date.now, signal } = options;
  const written = new Map<string, WrittenStatus>();
  /** When a claim may be tried again after a failure, in ms since the epoch. */
  const pauses = new Map<string, number>();
  let logged: string | undefined;

  async function update(current: ClaimHealth): Promise<void> {
    const { claim } = current;
    const before = written.get(claim.uid) ?? writtenStatus(await readOwn(claim));
    const devices = deviceStatuses(current, before);
    const time = now();
    const isWritten = isDue(devices, before, time);
    if (isWritten) await applyStatus(request, claim, devices, signal);
    written.set(claim.uid, isWritten ? { devices, writtenAt: time } : before);
  }

  /** @throws {ClaimGoneError} */
  async function readOwn(claim: ClaimId): Promise<ResourceClaim> {
    const stored = await readClaim(claim, signal);
    if (stored?.metadata.uid !== claim.uid) throw new ClaimGoneError();
    return stored;
  }

  function pause({ namespace, name, uid }: ClaimId, error: unknown): void {
    pauses.set(uid, now() + MIN_PAUSE);
    if (isGone(error)) return; // it is about to be unprepared
    const reason = messageOf(error);
    if (reason !== logged) log.warn("Cannot write the state of leases to their claim", { namespace, name, reason });
    logged = reason;
  }

  for await (const current of health.changes(signal)) {
    for (const map of [written, pauses]) for (const uid of map.keys()) if (!current.has(uid)) map.delete(uid);
    for (const claim of current.values()) {
      if ((pauses.get(claim.claim.uid) ?? 0) > now()) continue;
      await update(claim).catch((error) => {
        if (!signal.aborted) pause(claim.claim, error);
      });
      if (signal.aborted) return;
    }
  }
}

class ClaimGoneError extends Error {
  override name = "ClaimGoneError";
}

function isGone(error: unknown): boolean {
  return error instanceof ClaimGoneError || isStatus(error, 404) || isStatus(error, 409); // 409: another uid
}

/** Writes the entries of the driver, and leaves those of others alone. */
async function applyStatus(
  request: KubernetesRequest,
  { namespace, name, uid }: ClaimId,
  devices: readonly DeviceStatus[],
  signal: AbortSignal,
): Promise<void> {
  const metadata = { namespace, name, uid };
  await request(`${claimPath(namespace, name)}/status`, {
    method: "PATCH",
    contentType: "application/apply-patch+yaml", // JSON is YAML
    query: { fieldManager: FIELD_MANAGER, force: "true" },
    body: { apiVersion: "resource.k8s.io/v1", kind: "ResourceClaim", metadata, status: { devices } },
    signal,
  });
}
