import type { MessageInitShape } from "@bufbuild/protobuf";
import type { ServiceImpl } from "@connectrpc/connect";
import type { KeyedMutex } from "../../program/keyed_mutex.ts";
import { type Logger, messageOf } from "../../program/log/log.ts";
import type { DeviceSchema, DRAPlugin } from "../../proto/gen/dra/v1/api_pb.ts";
import type { ClaimId } from "./claims/claim.ts";
import { cdiDeviceName } from "./files/cdi.ts";
import type { PreparedClaim } from "./files/prepared_claim.ts";
import type { DriverMetrics } from "./metrics.ts";
import type { Prepared, Preparer } from "./prepare.ts";

export interface DriverServiceOptions {
  preparer: Preparer;
  /** By the uid of a claim. */
  mutex: KeyedMutex;
  /** Called after each call with the claims that got new leases: those of one pod. */
  onPrepared: (claims: readonly Prepared[]) => void;
  log: Logger;
  metrics: Pick<DriverMetrics, "claims">;
}

type Call = "prepare" | "unprepare";

/** `v1.DRAPlugin`: a claim is prepared once its CDI file exists. An error of one claim does not affect the others. */
export function createDriverService(options: DriverServiceOptions): ServiceImpl<typeof DRAPlugin> {
  const { preparer, mutex, onPrepared, log, metrics } = options;

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

  return {
    async nodePrepareResources({ claims }, { signal }) {
      const fresh: Prepared[] = [];
      const run = async (id: ClaimId) => {
        const prepared = await preparer.prepare(id, signal);
        if (prepared.granted) fresh.push(prepared);
        return { devices: toDevices(prepared.claim) };
      };
      const results = await runAll("prepare", claims, run);
      onPrepared(fresh);
      return { claims: results };
    },
    async nodeUnprepareResources({ claims }) {
      const run = async ({ uid }: ClaimId) => {
        await preparer.unprepare(uid);
        return {};
      };
      return { claims: await runAll("unprepare", claims, run) };
    },
  };
}

/** The devices of a claim, each with its CDI device. */
function toDevices({ uid, shares }: PreparedClaim): MessageInitShape<typeof DeviceSchema>[] {
  return shares.map(({ request, pool, device, shareId }) => ({
    requestNames: [request],
    poolName: pool,
    deviceName: device,
    cdiDeviceIds: [cdiDeviceName(uid, device)],
    ...(shareId === undefined ? {} : { shareId }),
  }));
}
