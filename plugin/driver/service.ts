import type { MessageInitShape } from "@bufbuild/protobuf";
import type { ServiceImpl } from "@connectrpc/connect";
import type { KeyedMutex } from "../../program/keyed_mutex.ts";
import { type Logger, messageOf } from "../../program/log/log.ts";
import type { DeviceSchema, DRAPlugin } from "../../proto/gen/dra/v1/api_pb.ts";
import { cdiDeviceName } from "./cdi.ts";
import { allocatedShares, type ClaimId, formatClaim, type GpuShare, type ReadClaim, type ReadPod } from "./claim.ts";
import type { ClaimFiles } from "./claim_files.ts";
import { findUncovered } from "./gate.ts";
import type { DriverMetrics } from "./metrics.ts";

export interface DriverServiceOptions {
  files: ClaimFiles;
  readClaim: ReadClaim;
  readPod: ReadPod;
  /** By the uid of a claim. */
  mutex: KeyedMutex;
  log: Logger;
  metrics: Pick<DriverMetrics, "claims">;
}

type Call = "prepare" | "unprepare";

/** `v1.DRAPlugin`: a claim is prepared once its CDI file exists. An error of one claim does not affect the others. */
export function createDriverService(options: DriverServiceOptions): ServiceImpl<typeof DRAPlugin> {
  const { files, readClaim, readPod, mutex, log, metrics } = options;

  /** The results for all claims, by uid. */
  async function runAll<Result>(call: Call, claims: readonly ClaimId[], run: (claim: ClaimId) => Promise<Result>) {
    const entries = claims.map(async ({ namespace, name, uid }) => {
      const claim = { namespace, name, uid };
      return [uid, await runOne(call, claim, () => run(claim))] as const;
    });
    return Object.fromEntries(await Promise.all(entries));
  }

  async function runOne<Result>(call: Call, claim: ClaimId, run: () => Promise<Result>) {
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
    signal.throwIfAborted(); // it may have waited for the mutex
    let current: Awaited<ReturnType<ReadClaim>>;
    let uncovered: string | undefined;
    try {
      current = await readClaim(claim, signal);
      uncovered = current && (await findUncovered(current, { readClaim, readPod }, signal));
    } catch (error) {
      signal.throwIfAborted();
      return preparedShares(claim, error);
    }
    const shares = allocatedShares(current, claim);
    if (uncovered) throw new Error(`Claim ${formatClaim(claim)}: ${uncovered}`);
    // Not once the kubelet has given up: it may have asked another instance to unprepare the claim by then.
    await files.write({ ...claim, shares }, signal);
    return shares;
  }

  /**
   * The shares in the claim's file, for the time in which the API server does not answer. A prepared claim is not allocated again, and
   * the kubelet has just read the claim itself.
   */
  async function preparedShares(claim: ClaimId, failure: unknown): Promise<readonly GpuShare[]> {
    const prepared = await files.read(claim.uid).catch(() => undefined);
    if (!prepared || formatClaim(prepared) !== formatClaim(claim)) {
      throw new Error(`Claim ${formatClaim(claim)}: cannot read it from the API server`, { cause: failure });
    }
    log.warn("Cannot read a claim from the API server: it stays as it was prepared", {
      ...claim,
      reason: messageOf(failure),
    });
    return prepared.shares;
  }

  return {
    async nodePrepareResources({ claims }, { signal }) {
      const run = async (claim: ClaimId) => ({ devices: toDevices(claim, await prepare(claim, signal)) });
      return { claims: await runAll("prepare", claims, run) };
    },
    async nodeUnprepareResources({ claims }) {
      const run = async ({ uid }: ClaimId) => {
        await files.remove(uid);
        return {};
      };
      return { claims: await runAll("unprepare", claims, run) };
    },
  };
}

/** The devices of a claim. All refer to the one CDI device, which tells the container about all of them. */
function toDevices({ uid }: ClaimId, shares: readonly GpuShare[]): MessageInitShape<typeof DeviceSchema>[] {
  return shares.map(({ request, pool, device, shareId }) => ({
    requestNames: [request],
    poolName: pool,
    deviceName: device,
    cdiDeviceIds: [cdiDeviceName(uid)],
    ...(shareId === undefined ? {} : { shareId }),
  }));
}
