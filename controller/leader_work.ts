import type { EventRecorder } from "../kubernetes/events.ts";
import type { OwnerReference } from "../kubernetes/objects/owner_reference.ts";
import { RESOURCE_CLAIMS, type ResourceClaim } from "../kubernetes/objects/resource_claim.ts";
import { RESOURCE_SLICES, type ResourceSlice } from "../kubernetes/objects/resource_slice.ts";
import type { KubernetesRequest } from "../kubernetes/request.ts";
import { watchObjects } from "../kubernetes/watch.ts";
import type { WaitingClaim } from "../pool/claims/waiting_claim.ts";
import { DRIVER_SLICES } from "../pool/driver.ts";
import type { Inventory, InventorySource } from "../pool/inventory.ts";
import { createSupply, type GpuSupply } from "../pool/requests/supply.ts";
import type { PoolClient } from "../pool/sources/pool_servers.ts";
import type { Logger } from "../program/log/log.ts";
import { type ClaimSummary, createClaimIndex, summarizeClaim } from "./claims/claim_index.ts";
import { losesShares } from "./claims/claim_state.ts";
import { removeOldTemplates } from "./claims/old_templates.ts";
import type { PendingPod } from "./claims/pending_pod.ts";
import { createPodClaims } from "./claims/pod_claims.ts";
import { applyTaintRules, listTaintRules } from "./claims/taint_rules.ts";
import { reportWaitingPods } from "./claims/waiting_events.ts";
import { createFollowed } from "./followed.ts";
import { describeForeign } from "./foreign_servers.ts";
import { createLeaseEnder } from "./leases/lease_ender.ts";
import type { ControllerMetrics } from "./metrics.ts";
import { type FollowedNode, markReadyNodes } from "./nodes/ready_nodes.ts";
import { preemptPods } from "./priorities/preempt.ts";
import { serversOf } from "./slices/device_servers.ts";
import { createSliceReconciler } from "./slices/reconcile.ts";
import { createSliceStore } from "./slices/slice_store.ts";

export interface LeaderWorkOptions {
  request: KubernetesRequest;
  /** Kubernetes deletes the slices with it. */
  owner: OwnerReference;
  /** The namespace of the driver's pods. */
  driverNamespace: string;
  inventory: InventorySource;
  /** A client of a server. Undefined while the server does not answer. */
  clientOf: (address: string) => PoolClient | undefined;
  /** How long a GPU may have a problem before the pods that hold it are evicted, in ms. Undefined: pods are never evicted. */
  evictAfter?: number | undefined;
  /** Whether pods of lower priority are evicted for pods that wait for units. */
  preemption: boolean;
  record: EventRecorder;
  log: Logger;
  metrics: Omit<ControllerMetrics, "registry" | "leading">;
}

/** The work of the replica that leads. */
export interface LeaderWork {
  /** The published GPUs. Undefined while they are not known. */
  supply(): readonly GpuSupply[] | undefined;
  /** Why GPUs of the pool cannot be published, and what to do. Undefined if all can. */
  problem(): string | undefined;
  /** The claims that wait for units. */
  waitingClaims(): readonly WaitingClaim[];
  /** Publishes the pool, creates the claims of pods, ends leases without a claim, reports waiting pods, and preempts pods. Returns when the signal is aborted. */
  run(signal: AbortSignal): Promise<void>;
}

/** Creates the work for one term of leadership. It starts without knowledge of the pool and the cluster. */
export function createLeaderWork(options: LeaderWorkOptions): LeaderWork {
  const {
    request,
    owner,
    driverNamespace,
    inventory: source,
    clientOf,
    evictAfter,
    preemption,
    record,
    log,
    metrics,
  } = options;
  const slices = createSliceStore();
  const claims = createClaimIndex();
  const pending = createFollowed<PendingPod>();
  const nodes = createFollowed<FollowedNode>();
  const supplyOf = createSupply();
  let inventory: Inventory | undefined;
  const reconciler = createSliceReconciler({
    request,
    owner,
    inventory: () => inventory,
    slices,
    held: () => (claims.isSynced ? claims.held : undefined),
    evictAfter,
    now: Date.now,
    log,
    metrics,
  });
  const leaseEnder = createLeaseEnder({ request, clientOf, claims, log, metrics });
  const podClaims = createPodClaims({ request, claims, pending, record, log, metrics });
  const problem = () => inventory && describeForeign(inventory);
  const supply = () => (slices.isSynced && claims.isSynced ? supplyOf(slices.slices.values(), claims.held) : undefined);

  async function followInventory(signal: AbortSignal): Promise<void> {
    for await (const next of source(signal)) {
      const before = problem();
      inventory = next;
      const reason = problem();
      if (reason && reason !== before) log.warn("Cannot publish the pool", { reason });
      leaseEnder.setServers(next.servers);
      reconciler.trigger();
    }
  }

  async function followSlices(signal: AbortSignal): Promise<void> {
    const transform = (slice: ResourceSlice) => slice;
    const watch = { request, path: RESOURCE_SLICES, query: DRIVER_SLICES, transform, log };
    for await (const change of watchObjects(watch, signal)) if (slices.apply(change)) reconciler.trigger();
  }

  async function followClaims(signal: AbortSignal): Promise<void> {
    const watch = { request, path: RESOURCE_CLAIMS, transform: summarizeClaim, log };
    for await (const change of watchObjects<ResourceClaim, ClaimSummary>(watch, signal)) {
      const before = change.type === "replace" ? undefined : claims.state(change.key);
      const devices = change.type === "replace" ? [] : claims.devices(change.key);
      const released = claims.apply(change);
      if (change.type === "replace") leaseEnder.trigger();
      else if (losesShares(before, claims.state(change.key))) leaseEnder.trigger(serversOf(devices, slices.slices));
      if (change.type === "delete") podClaims.onClaimDeleted(change.key);
      if (change.type === "replace") reconciler.trigger();
      else reconciler.onReleased(released);
    }
  }

  return {
    supply,
    problem,
    waitingClaims: () => [...claims.waiting.values()],
    async run(signal) {
      const ended = new AbortController();
      const untilEnded = AbortSignal.any([signal, ended.signal]);
      const supplyWithRules = async () => {
        const gpus = supply();
        return gpus && applyTaintRules(gpus, await listTaintRules(request, untilEnded));
      };
      const parts = [
        followInventory(untilEnded),
        followSlices(untilEnded),
        followClaims(untilEnded),
        reconciler.run(untilEnded),
        podClaims.run(untilEnded),
        leaseEnder.run(untilEnded),
        removeOldTemplates({ request, log }, untilEnded),
        markReadyNodes({ request, namespace: driverNamespace, nodes, log }, untilEnded),
        reportWaitingPods({
          claims,
          supply: supplyWithRules,
          nodesOf: podClaims.nodesOf,
          record,
          log,
          signal: untilEnded,
        }),
        ...(preemption
          ? [preemptPods({ request, claims, pending, nodes, supply, record, log, metrics }, untilEnded)]
          : []),
      ];
      try {
        await Promise.all(parts.map((part) => part.finally(() => ended.abort()))); // the first part that ends stops the others
      } finally {
        await Promise.allSettled(parts);
      }
    },
  };
}
