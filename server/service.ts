import { createHash } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { create, toBinary } from "@bufbuild/protobuf";
import { durationFromMs, durationMs, timestampFromMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, type HandlerContext, type ServiceImpl } from "@connectrpc/connect";
import * as v from "valibot";
import { peerOf } from "../grpc/peer.ts";
import { attributesOf } from "../pool/attributes.ts";
import { deviceName } from "../pool/device_name.ts";
import { createMatcher, FILTER_KEYS } from "../pool/filter.ts";
import { DRAINING, type Gpu, type ServerFacts } from "../pool/inventory.ts";
import { type ClaimAllocation, MAX_RENEWALS } from "../pool/lease.ts";
import type { Share } from "../pool/share.ts";
import type { Latest } from "../program/latest.ts";
import type { Logger } from "../program/log/log.ts";
import { describeIssue } from "../program/text/describe_issue.ts";
import { shorten } from "../program/text/quote.ts";
import {
  type ClaimRequest,
  ClaimRequestSchema,
  GpuUseSchema,
  InventorySchema,
  type LeaseProof,
  LeaseSchema,
  type PoolService,
  ShortageSchema,
} from "../proto/gen/bitfusion/pool/v1/pool_pb.ts";
import { type Caller, findCaller, gpusOf } from "./access.ts";
import type { ClientRules } from "./configuration/clients.ts";
import type { GateFacts } from "./data_plane.ts";
import type { Limiter } from "./dataplane/limiter.ts";
import type { ServerGpu } from "./gpus/gpu.ts";
import { isolationOf } from "./isolation.ts";
import { endExpired, leaseFields } from "./leases/end_expired.ts";
import type { Holder, Lease, Ledger } from "./leases/ledger.ts";
import { isEqual } from "./leases/secret.ts";
import type { GpuUse } from "./use/lease_use.ts";

/** What a server knows now. */
export interface ServerState {
  readonly gpus: readonly ServerGpu[];
  readonly clients: readonly ClientRules[];
  /** Whether the server is drained: it grants only what a scheduler has allocated already. */
  readonly draining: boolean;
}

export interface PoolServiceOptions {
  facts: Omit<ServerFacts, "dataPlane">;
  /** Watches send each change of the GPUs immediately, and end when their client is removed. */
  state: Latest<ServerState>;
  ledger: Ledger;
  /** Returns once the last grant or end is known where a restarted server finds its leases, if there is such a place. */
  saved: () => Promise<void>;
  /** Undefined: the server forwards no calls. */
  gate?: GateFacts | undefined;
  /** What the limiter of the data plane limits, if it has one. */
  limits?: Limiter["limits"] | undefined;
  /** What a lease uses of its GPUs. */
  usesOf: (leaseId: string) => readonly GpuUse[];
  log: Logger;
}

/** Minimum of heartbeat_interval, in ms. */
const MIN_HEARTBEAT_INTERVAL = 100;

/** Longest time between two messages to the user of a lease, in ms. */
const ATTACH_HEARTBEAT = 1000;

const NO_LEASE = "No such lease: it has ended";
const DRAINED = "This server is drained before it stops: it grants no new leases";

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

/** The most devices that a ResourceClaim can hold. */
const MAX_SHARE_IDS = 32;

/** The bounds of a claim. Lengths are those of names in Kubernetes: DNS labels, and a DNS subdomain for the pod or host. */
const BoundedClaim = v.object({
  owner: v.optional(v.object({ namespace: text(63), pod: text(253), container: text(63) })),
  resource_claim: v.optional(
    v.object({
      namespace: text(63),
      name: text(253),
      uid: text(63),
      node: text(253),
      share_ids: v.pipe(v.array(text(63)), v.maxLength(MAX_SHARE_IDS, `expected at most ${MAX_SHARE_IDS} entries`)),
    }),
  ),
  filters: listOf(64),
  gpu_ids: listOf(1024),
});

/** Creates `bitfusion.pool.v1.PoolService` for a ledger. It logs when a lease is granted, refused or ended. */
export function createPoolService(options: PoolServiceOptions): ServiceImpl<typeof PoolService> {
  const { state, ledger, saved, gate, limits, usesOf, log } = options;
  const facts: ServerFacts = { ...options.facts, ...(gate ? { dataPlane: gate.dataPlane } : {}) };
  const gateMessage = gate ? { gate } : {};

  function currentState(): ServerState {
    return state.current ?? { clients: [], gpus: [], draining: false };
  }
  /** @throws {ConnectError} if the caller has no access. */
  function authorize({ clients, gpus }: ServerState, context: HandlerContext): Caller & { gpus: readonly ServerGpu[] } {
    const caller = findCaller(peerOf(context), clients);
    if ("refusal" in caller) throw new ConnectError(caller.refusal, Code.PermissionDenied);
    return { ...caller, gpus: gpusOf(caller.rules, gpus) };
  }
  function authorizeNow(context: HandlerContext): ReturnType<typeof authorize> {
    return authorize(currentState(), context);
  }
  /** The lease with this id, if the caller may renew and release it. Another client's lease does not exist for it. */
  function findLease({ leaseId, secret }: Pick<LeaseProof, "leaseId" | "secret">, { rules, isPod }: Caller) {
    const lease = ledger.get(leaseId);
    if (lease?.holder.client !== rules.name) return undefined;
    return !isPod || (lease.holder.isPod && isEqual(lease.secret, secret)) ? lease : undefined;
  }
  function gpuMessage(gpu: ServerGpu) {
    const { id, model, memoryMb, healthy, problem = "" } = gpu;
    return { id, model, memoryMb: BigInt(memoryMb), healthy, problem, isolation: isolationOf(gpu, limits) };
  }
  function inventoryOf(gpus: readonly ServerGpu[], { draining }: Pick<ServerState, "draining">) {
    return create(InventorySchema, {
      ...facts,
      gpus: gpus.map((gpu) =>
        gpuMessage(draining && gpu.healthy ? { ...gpu, healthy: false, problem: DRAINING } : gpu),
      ),
    });
  }
  function expire(): void {
    endExpired(ledger, log);
  }
  function timeToLive({ holder }: Lease) {
    return durationFromMs(ledger.timeToLive(holder));
  }
  function leaseMessage({ id, owner, resourceClaim, gpus, grantedAt, expiresAt }: Lease) {
    const timestamp = (time: number) => timestampFromMs(Math.round(Date.now() + time - ledger.now()));
    return create(LeaseSchema, {
      id,
      owner,
      ...(resourceClaim ? { resourceClaim: { ...resourceClaim, shareIds: [...resourceClaim.shareIds] } } : {}),
      gpus: gpuShares({ gpus }),
      grantedAt: timestamp(grantedAt),
      expiresAt: timestamp(expiresAt),
    });
  }

  return {
    getInventory({ devices }, context) {
      const { isPod, gpus } = authorizeNow(context);
      if (isPod && devices.length === 0)
        throw new ConnectError("devices is empty: pods must name them", Code.PermissionDenied);
      const names = new Set(devices);
      const isNamed = ({ id }: Gpu) => names.size === 0 || names.has(deviceName(id));
      return { inventory: inventoryOf(gpus.filter(isNamed), currentState()) };
    },

    async *watchInventory({ heartbeatInterval }, context) {
      forbidPods(authorizeNow(context));
      const interval = heartbeatInterval ? durationMs(heartbeatInterval) : 1000;
      if (interval < MIN_HEARTBEAT_INTERVAL) {
        throw new ConnectError(
          `heartbeat_interval is ${interval} ms: expected ${MIN_HEARTBEAT_INTERVAL} or more`,
          Code.InvalidArgument,
        );
      }
      let last: ServerState | undefined;
      for await (const current of state.changes(context.signal, interval)) {
        const { gpus } = authorize(current, context);
        yield current === last ? {} : { inventory: inventoryOf(gpus, current) };
        last = current;
      }
    },

    async claim(request, context) {
      const { rules, isPod, gpus } = authorizeNow(context);
      expire();
      checkBounds(request);
      const { owner = { namespace: "", pod: "", container: "" }, filters, gpuIds } = request;
      const share = shareOf(request);
      checkGpuIds(request, gpus);
      checkRequestId(request);
      for (const { key } of filters) {
        if (SERVER_FILTERS.includes(key)) continue;
        throw new ConnectError(
          `Unknown filter "${shorten(key)}": expected one of ${SERVER_FILTERS.join(", ")}`,
          Code.InvalidArgument,
        );
      }
      const { namespace, pod, container } = owner;
      const matchesAll = createMatcher(filters);
      const matching = new Set(
        gpus
          .filter((gpu) => gpuIds.length === 0 || gpuIds.includes(gpu.id))
          .filter((gpu) => matchesAll(attributesOf({ facts }, { ...gpu, isolation: isolationOf(gpu, limits) })))
          .map(({ id }) => id),
      );
      const holder = { client: rules.name, isPod };
      // what a scheduler has allocated is granted: a pod that is bound to a node cannot go elsewhere
      const isDrained = currentState().draining && !request.resourceClaim;
      const result = ledger.claim({
        holder,
        maxUnits: isPod ? rules.podUnits : undefined,
        owner: { namespace, pod, container },
        resourceClaim: allocationOf(request, isPod),
        share,
        matches: ({ id }) => !isDrained && matching.has(id),
        request: request.requestId ? digestOf(request, holder) : undefined,
      });
      if ("lease" in result) {
        log.info(result.repeated ? "Lease returned to a repeated claim" : "Lease granted", leaseFields(result.lease));
        const { secret } = result.lease;
        await saved();
        return { lease: leaseMessage(result.lease), secret, timeToLive: timeToLive(result.lease), ...gateMessage };
      }
      if (isDrained) throw new ConnectError(DRAINED, Code.Unavailable);
      const { availableGpus, capableGpus } = result;
      const requested = { owner: { namespace, pod, container }, share, gpuIds };
      log.info("Claim refused", { client: rules.name, ...requested, availableGpus, capableGpus });
      const limit = isPod ? `, and the cluster's pods may hold ${rules.podUnits} units` : "";
      throw new ConnectError(
        `${availableGpus} of this server's ${gpus.length} GPUs are available, ${share.gpus} are requested${limit}`,
        Code.ResourceExhausted,
        undefined,
        [{ desc: ShortageSchema, value: result }],
      );
    },

    renewLeases({ leases }, context) {
      const caller = authorizeNow(context);
      expire();
      if (leases.length > MAX_RENEWALS) {
        const message = `leases has ${leases.length} entries: expected at most ${MAX_RENEWALS}`;
        throw new ConnectError(message, Code.InvalidArgument);
      }
      const renewed = leases.map((proof) => ledger.renew(findLease(proof, caller)?.id ?? ""));
      const ids = new Set(renewed.flatMap((lease) => lease?.gpus.map(({ gpuId }) => gpuId) ?? []));
      return {
        renewals: renewed.map((lease) => (lease ? { timeToLive: timeToLive(lease) } : {})),
        gpus: currentState()
          .gpus.filter(({ id }) => ids.has(id))
          .map(gpuMessage),
        ...gateMessage,
      };
    },

    async release(request, context) {
      const caller = authorizeNow(context);
      expire();
      const lease = findLease(request, caller);
      if (lease && ledger.release(lease.id)) log.info("Lease ended", { why: "released", ...leaseFields(lease) });
      await saved();
      return {};
    },

    async *attachLease({ leaseId, secret }, { signal }) {
      for (;;) {
        expire();
        const lease = ledger.get(leaseId);
        const untilEnded = ledger.untilEnded(leaseId);
        if (!lease || !untilEnded || !isEqual(lease.secret, secret)) throw new ConnectError(NO_LEASE, Code.NotFound);
        const remaining = Math.max(0, lease.expiresAt - ledger.now());
        yield { gpus: gpuShares(lease), timeToLive: durationFromMs(Math.round(remaining)) };
        // an end that came while the client did not read is noticed above
        const pause = Math.min(ATTACH_HEARTBEAT, remaining / 8);
        await sleep(pause, undefined, { signal: AbortSignal.any([signal, untilEnded]) }).catch(() => {});
        signal.throwIfAborted();
      }
    },

    listLeases(_, context) {
      const caller = authorizeNow(context);
      forbidPods(caller);
      expire();
      const leases = ledger.leases().filter(({ holder }) => holder.client === caller.rules.name);
      return { leases: leases.map((lease) => ({ ...leaseMessage(lease), uses: usesOf(lease.id).map(useMessage) })) };
    },
  };
}

function gpuShares({ gpus }: Pick<Lease, "gpus">) {
  return gpus.map(({ gpuId, units }) => ({ gpuId, units }));
}

function useMessage({ gpuId, memoryMb, utilization }: GpuUse) {
  const memory = { gpuId, memoryMb: BigInt(memoryMb) };
  return create(GpuUseSchema, { ...memory, ...(utilization === undefined ? {} : { utilizationPercent: utilization }) });
}

/** @throws {ConnectError} when a name or a list is longer than any in Kubernetes. */
function checkBounds({ owner, resourceClaim, filters, gpuIds }: ClaimRequest): void {
  const resource_claim = resourceClaim && { ...resourceClaim, share_ids: resourceClaim.shareIds };
  const { issues } = v.safeParse(BoundedClaim, { owner, resource_claim, filters, gpu_ids: gpuIds });
  if (issues) throw new ConnectError(describeIssue(issues[0]), Code.InvalidArgument);
}

/** @throws {ConnectError} if a pod names a ResourceClaim: only the cluster knows what was allocated to it. */
function allocationOf({ resourceClaim }: ClaimRequest, isPod: boolean): ClaimAllocation | undefined {
  if (!resourceClaim) return undefined;
  if (isPod) throw new ConnectError("resource_claim is set: expected none in claims of pods", Code.PermissionDenied);
  const { namespace, name, uid, node, shareIds } = resourceClaim;
  return { namespace, name, uid, node, shareIds };
}

/** @throws {ConnectError} if a pod calls. */
function forbidPods({ isPod, rules }: Caller): void {
  if (isPod) throw new ConnectError(`Pods of "${rules.name}" may not call this method`, Code.PermissionDenied);
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

/** The same for equal claims of one holder only: the owner, the share and all else count, not only the id. */
function digestOf(request: ClaimRequest, holder: Holder): string {
  const hash = createHash("sha256").update(JSON.stringify(holder));
  return hash.update(toBinary(ClaimRequestSchema, request)).digest("base64");
}
