import { createHash } from "node:crypto";
import { create, toBinary } from "@bufbuild/protobuf";
import { durationFromMs, durationMs, timestampFromMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, type ServiceImpl } from "@connectrpc/connect";
import * as v from "valibot";
import { attributesOf } from "../pool/attributes.ts";
import { FILTER_KEYS, matchesFilter } from "../pool/filter.ts";
import type { Gpu, ServerFacts } from "../pool/inventory.ts";
import type { Share } from "../pool/share.ts";
import { describeIssue, shorten } from "../program/describe_issue.ts";
import type { Latest } from "../program/latest.ts";
import type { Logger } from "../program/log/log.ts";
import {
  type ClaimRequest,
  ClaimRequestSchema,
  InventorySchema,
  LeaseSchema,
  type PoolService,
  ShortageSchema,
} from "../proto/gen/bitfusion/pool/v1/pool_pb.ts";
import type { Lease, Ledger } from "./leases/ledger.ts";

export interface PoolServiceOptions {
  facts: ServerFacts;
  /** The server's GPUs. Watches send each change immediately. */
  gpus: Latest<readonly Gpu[]>;
  ledger: Ledger;
  /** Time until a lease that is not renewed expires, in ms. */
  timeToLive: number;
  log: Logger;
}

/** Minimum of heartbeat_interval, in ms. */
const MIN_HEARTBEAT_INTERVAL = 100;

/** The filters that a server evaluates. It does not know the address under which a client reaches it. */
const SERVER_FILTERS = FILTER_KEYS.filter((key) => key !== "server.addr");

/** A text that is kept with a lease and logged. */
function text(length: number) {
  const expected = `expected at most ${length} characters, none of them a control character`;
  return v.pipe(v.string(), v.maxLength(length, expected), v.regex(/^\P{Cc}*$/u, expected));
}

function listOf(length: number) {
  return v.pipe(v.array(v.unknown()), v.maxLength(length, `expected at most ${length} entries`));
}

/** The bounds of a claim. Lengths are those of names in Kubernetes: DNS labels, and a DNS subdomain for the pod or host. */
const BoundedClaim = v.object({
  owner: v.optional(v.object({ namespace: text(63), pod: text(253), container: text(63) })),
  filters: listOf(64),
  gpu_ids: listOf(1024),
});

/** Creates `bitfusion.pool.v1.PoolService` for a ledger. It logs when a lease is granted, refused or ended. */
export function createPoolService(options: PoolServiceOptions): ServiceImpl<typeof PoolService> {
  const { facts, gpus, ledger, timeToLive, log } = options;
  const currentGpus = () => gpus.current ?? [];

  function inventoryOf(gpus: readonly Gpu[]) {
    return create(InventorySchema, {
      ...facts,
      gpus: gpus.map(({ id, model, memoryMb, healthy }) => ({ id, model, memoryMb: BigInt(memoryMb), healthy })),
    });
  }
  function logEnd(lease: Lease, why: string): void {
    log.info("Lease ended", { why, ...leaseFields(lease) });
  }
  function expire(): void {
    for (const lease of ledger.expire()) logEnd(lease, "expired");
  }
  function leaseMessage({ id, owner, gpus, grantedAt, expiresAt }: Lease) {
    const timestamp = (time: number) => timestampFromMs(Math.round(Date.now() + time - ledger.now()));
    return create(LeaseSchema, {
      id,
      owner,
      gpus: gpus.map(({ gpuId, units }) => ({ gpuId, units })),
      grantedAt: timestamp(grantedAt),
      expiresAt: timestamp(expiresAt),
    });
  }

  return {
    getInventory: () => ({ inventory: inventoryOf(currentGpus()) }),

    async *watchInventory({ heartbeatInterval }, { signal }) {
      const interval = heartbeatInterval ? durationMs(heartbeatInterval) : 1000;
      if (interval < MIN_HEARTBEAT_INTERVAL) {
        throw new ConnectError(
          `heartbeat_interval is ${interval} ms: expected ${MIN_HEARTBEAT_INTERVAL} or more`,
          Code.InvalidArgument,
        );
      }
      for await (const current of gpus.changes(signal, interval)) yield { inventory: inventoryOf(current) };
    },

    claim(request) {
      expire();
      checkBounds(request);
      const { owner = { namespace: "", pod: "", container: "" }, filters, gpuIds } = request;
      const share = shareOf(request);
      checkGpuIds(request, currentGpus());
      checkRequestId(request);
      for (const { key } of filters) {
        if (SERVER_FILTERS.includes(key)) continue;
        throw new ConnectError(
          `Unknown filter "${shorten(key)}": expected one of ${SERVER_FILTERS.join(", ")}`,
          Code.InvalidArgument,
        );
      }
      const { namespace, pod, container } = owner;
      const result = ledger.claim({
        owner: { namespace, pod, container },
        share,
        matches: (gpu) =>
          filters.every((filter) => matchesFilter(filter, attributesOf({ facts }, gpu))) &&
          (gpuIds.length === 0 || gpuIds.includes(gpu.id)),
        request: request.requestId ? digestOf(request) : undefined,
      });
      if ("lease" in result) {
        log.info(result.repeated ? "Lease returned to a repeated claim" : "Lease granted", leaseFields(result.lease));
        return { lease: leaseMessage(result.lease), timeToLive: durationFromMs(timeToLive) };
      }
      const { availableGpus, capableGpus } = result;
      log.info("Claim refused", { owner: { namespace, pod, container }, share, gpuIds, availableGpus, capableGpus });
      throw new ConnectError(
        `${availableGpus} of this server's ${currentGpus().length} GPUs are available, ${share.gpus} are requested`,
        Code.ResourceExhausted,
        undefined,
        [{ desc: ShortageSchema, value: result }],
      );
    },

    renew({ leaseId }) {
      expire();
      if (!ledger.renew(leaseId)) throw new ConnectError("No such lease: it has ended", Code.NotFound);
      return { timeToLive: durationFromMs(timeToLive) };
    },

    release({ leaseId }) {
      expire();
      const lease = ledger.release(leaseId);
      if (lease) logEnd(lease, "released");
      return {};
    },

    listLeases() {
      expire();
      return { leases: ledger.leases().map((lease) => leaseMessage({ ...lease, id: "" })) };
    },
  };
}

/** @throws {ConnectError} when a name or a list is longer than any in Kubernetes. */
function checkBounds({ owner, filters, gpuIds }: ClaimRequest): void {
  const { issues } = v.safeParse(BoundedClaim, { owner, filters, gpu_ids: gpuIds });
  if (issues) throw new ConnectError(describeIssue(issues[0]), Code.InvalidArgument);
}

function shareOf({ gpus, share }: ClaimRequest): Share {
  if (gpus < 1) throw new ConnectError(`gpus is ${gpus}: expected 1 or more`, Code.InvalidArgument);
  if (share.case === "percent" && share.value >= 1 && share.value <= 100) return { gpus, percent: share.value };
  if (share.case === "memoryMb" && share.value >= 1n) return { gpus, memoryMb: Number(share.value) };
  const value = share.case === undefined ? "share is not set" : `${share.case} is ${share.value}`;
  throw new ConnectError(`${value}: expected percent from 1 to 100, or memory_mb of 1 or more`, Code.InvalidArgument);
}

/** @throws {ConnectError} when gpu_ids has an unknown GPU, a GPU twice, or not as many GPUs as requested. */
function checkGpuIds({ gpus: count, gpuIds }: ClaimRequest, gpus: readonly Gpu[]): void {
  if (gpuIds.length === 0) return;
  const unknown = gpuIds.find((id) => gpus.every((gpu) => gpu.id !== id));
  if (unknown !== undefined)
    throw new ConnectError(`gpu_ids has "${shorten(unknown)}": this server has no such GPU`, Code.NotFound);
  if (new Set(gpuIds).size !== gpuIds.length || gpuIds.length !== count) {
    throw new ConnectError(
      `gpu_ids is ${shorten(gpuIds.join(", "))}: expected ${count} different GPUs`,
      Code.InvalidArgument,
    );
  }
}

/** @throws {ConnectError} when request_id is set to anything but a UUID: others could guess it. */
function checkRequestId({ requestId }: ClaimRequest): void {
  if (requestId === "" || /^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/i.test(requestId)) return;
  throw new ConnectError("request_id is not a UUID: expected a random one, or none", Code.InvalidArgument);
}

/** The same for equal claims only: the owner, the share and all else count, not only the id. */
function digestOf(request: ClaimRequest): string {
  return createHash("sha256").update(toBinary(ClaimRequestSchema, request)).digest("base64");
}

function leaseFields({ owner, gpus }: Lease) {
  return { owner, gpus, units: gpus.reduce((sum, { units }) => sum + units, 0) };
}
