import type { MessageInitShape } from "@bufbuild/protobuf";
import type { ServiceImpl } from "@connectrpc/connect";
import type { KeyedMutex } from "../../program/keyed_mutex.ts";
import { type Logger, messageOf } from "../../program/log/log.ts";
import type { DeviceSchema, DRAPlugin } from "../../proto/gen/dra/v1/api_pb.ts";
import { cdiDeviceOf } from "./cdi.ts";
import { type ClaimId, type GpuShare, nameOf, type ReadClaim, sharesOf } from "./claim.ts";
import type { ClaimFiles } from "./claim_files.ts";
import type { DriverMetrics } from "./metrics.ts";

export interface DriverServiceOptions {
  files: ClaimFiles;
  readClaim: ReadClaim;
  /** By the uid of a claim. */
  mutex: KeyedMutex;
  log: Logger;
  metrics: Pick<DriverMetrics, "claims">;
}

type Call = "prepare" | "unprepare";

/** `v1.DRAPlugin`: a claim is prepared once its file is there. What is wrong with one claim is said of that one alone. */
export function createDriverService(options: DriverServiceOptions): ServiceImpl<typeof DRAPlugin> {
  const { files, readClaim, mutex, log, metrics } = options;

  /** The answers for all claims, by uid. */
  async function answers<Answer>(call: Call, claims: readonly ClaimId[], run: (claim: ClaimId) => Promise<Answer>) {
    const entries = claims.map(async ({ namespace, name, uid }) => {
      const claim = { namespace, name, uid };
      return [uid, await answer(call, claim, () => run(claim))] as const;
    });
    return Object.fromEntries(await Promise.all(entries));
  }

  async function answer<Answer>(call: Call, claim: ClaimId, run: () => Promise<Answer>) {
    const observe = metrics.claims.startTimer({ call });
    try {
      const result = await mutex(claim.uid, run);
      observe({ result: "succeeded" });
      log.info(`Claim ${call}d`, { ...claim });
      return result;
    } catch (error) {
      observe({ result: "failed" });
      const reason = messageOf(error);
      log.warn(`Cannot ${call} a claim`, { ...claim, reason });
      return { error: reason };
    }
  }

  async function prepare(claim: ClaimId, signal: AbortSignal): Promise<readonly GpuShare[]> {
    signal.throwIfAborted(); // while it waited for its turn
    let current: Awaited<ReturnType<ReadClaim>>;
    try {
      current = await readClaim(claim, signal);
    } catch (error) {
      signal.throwIfAborted();
      return sharesAsPrepared(claim, error);
    }
    const shares = sharesOf(current, claim);
    // Not once the kubelet has given up: it may by then have asked another instance to unprepare the claim.
    await files.write({ ...claim, shares }, signal);
    return shares;
  }

  /**
   * While the API server does not answer, what the claim's file says: a claim is not allocated anew while it is prepared, and the
   * kubelet has read it itself just before it asks.
   */
  async function sharesAsPrepared(claim: ClaimId, failure: unknown): Promise<readonly GpuShare[]> {
    const prepared = await files.read(claim.uid).catch(() => undefined);
    if (!prepared || nameOf(prepared) !== nameOf(claim)) {
      throw new Error(`Claim ${nameOf(claim)}: the API server does not tell it`, { cause: failure });
    }
    log.warn("Claim left as it is prepared: the API server does not tell it", {
      ...claim,
      reason: messageOf(failure),
    });
    return prepared.shares;
  }

  return {
    async nodePrepareResources({ claims }, { signal }) {
      const prepared = async (claim: ClaimId) => ({ devices: devicesOf(claim, await prepare(claim, signal)) });
      return { claims: await answers("prepare", claims, prepared) };
    },
    async nodeUnprepareResources({ claims }) {
      const unprepared = async ({ uid }: ClaimId) => {
        await files.remove(uid);
        return {};
      };
      return { claims: await answers("unprepare", claims, unprepared) };
    },
  };
}

/** Each of the claim's devices, with what tells the container of them all. */
function devicesOf({ uid }: ClaimId, shares: readonly GpuShare[]): MessageInitShape<typeof DeviceSchema>[] {
  return shares.map(({ request, pool, device, shareId }) => ({
    requestNames: [request],
    poolName: pool,
    deviceName: device,
    cdiDeviceIds: [cdiDeviceOf(uid)],
    ...(shareId === undefined ? {} : { shareId }),
  }));
}
