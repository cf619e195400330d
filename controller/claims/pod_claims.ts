import pLimit from "p-limit";
import { isStatus } from "../../kubernetes/error.ts";
import type { EventRecorder } from "../../kubernetes/events.ts";
import { managedBy } from "../../kubernetes/objects/managed_by.ts";
import { PODS, type Pod, podReference } from "../../kubernetes/objects/pod.ts";
import { claimPath, claimsPath, type ResourceClaim } from "../../kubernetes/objects/resource_claim.ts";
import type { KubernetesRequest } from "../../kubernetes/request.ts";
import { type ObjectChange, watchObjects } from "../../kubernetes/watch.ts";
import { CLAIM_ANNOTATIONS } from "../../pool/driver.ts";
import { formatFilter } from "../../pool/filter.ts";
import type { PodClaim } from "../../pool/pod_claims.ts";
import type { NodeChoice } from "../../pool/requests/reach.ts";
import { formatShare } from "../../pool/share.ts";
import { createBackoff } from "../../program/backoff.ts";
import { type Logger, messageOf } from "../../program/log/log.ts";
import type { Followed } from "../followed.ts";
import type { ControllerMetrics } from "../metrics.ts";
import type { ClaimIndex } from "./claim_index.ts";
import { claimSpec } from "./claim_spec.ts";
import { type PendingPod, summarizePod } from "./pending_pod.ts";

export interface PodClaimsOptions {
  request: KubernetesRequest;
  /** The claims that exist, as far as they are known. */
  claims: Pick<ClaimIndex, "waiting">;
  /** Gets the pods that are not bound yet. */
  pending: Pick<Followed<PendingPod>, "apply">;
  record: EventRecorder;
  log: Logger;
  metrics: Pick<ControllerMetrics, "podClaims">;
}

/** Creates the ResourceClaims that pods need, so that the scheduler can allocate them. */
export interface PodClaims {
  /** Follows the pods that are not scheduled yet. Returns when the signal is aborted. */
  run(signal: AbortSignal): Promise<void>;
  /** Restores a claim that was deleted while its pod still needs it. */
  onClaimDeleted(key: string): void;
  /** The nodes that a pod selects. Undefined: any, or the pod is not known. */
  nodesOf(pod: { readonly namespace: string; readonly name: string; readonly uid: string }): NodeChoice | undefined;
}

/** Requests that are sent at the same time. */
const CONCURRENCY = 20;

/** Longest delay between two attempts for a pod, in ms. */
const MAX_DELAY = 60_000;

const CONTROLLER = "bitfusion-controller";

export function createPodClaims({ request, claims, pending, record, log, metrics }: PodClaimsOptions): PodClaims {
  const limit = pLimit(CONCURRENCY);
  const running = new Set<Promise<void>>();
  const pods = new Map<string, { readonly pod: PendingPod; readonly stop: AbortController }>();
  /** The pods by the keys of their claims. */
  const podKeys = new Map<string, string>();
  let ended: AbortSignal | undefined;

  function start(key: string, pod: PendingPod): void {
    if (pods.get(key)?.pod.uid === pod.uid || !ended) return;
    stop(key);
    const stopped = new AbortController();
    pods.set(key, { pod, stop: stopped });
    for (const claim of claimsOf(pod)) podKeys.set(`${pod.namespace}/${claim.name}`, key);
    const work = ensureAll(pod, AbortSignal.any([ended, stopped.signal])).finally(() => running.delete(work));
    running.add(work);
  }

  function stop(key: string): void {
    const entry = pods.get(key);
    if (!entry) return;
    entry.stop.abort();
    pods.delete(key);
    for (const claim of claimsOf(entry.pod)) podKeys.delete(`${entry.pod.namespace}/${claim.name}`);
  }

  /** Creates the claims of a pod, with backoff until it succeeds or the pod needs them no more. */
  async function ensureAll(pod: PendingPod, signal: AbortSignal): Promise<void> {
    const backoff = createBackoff({ max: MAX_DELAY });
    let logged: string | undefined;
    while (!signal.aborted) {
      try {
        if ("refused" in pod.claims) await limit(refuse, pod, pod.claims.refused, signal);
        else for (const claim of pod.claims) await limit(ensure, pod, claim, signal);
        return;
      } catch (error) {
        if (signal.aborted) return;
        const reason = messageOf(error);
        metrics.podClaims.inc({ result: "failed" });
        if (reason !== logged) await report(pod, "ClaimsNotCreated", `Cannot create its claims: ${reason}`);
        logged = reason;
      }
      await backoff.wait(signal).catch(() => {}); // rejects only when aborted
    }
  }

  async function refuse(pod: PendingPod, refused: string, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return;
    metrics.podClaims.inc({ result: "refused" });
    await report(pod, "ClaimsRefused", `The pod gets no claims: ${refused}`);
  }

  async function ensure(pod: PendingPod, claim: PodClaim, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted(); // it may have waited for others
    const { namespace, uid } = pod;
    if (claims.waiting.get(`${namespace}/${claim.name}`)?.pod?.uid === uid) return;
    try {
      await request(claimsPath(namespace), { method: "POST", body: toResourceClaim(pod, claim), signal });
      metrics.podClaims.inc({ result: "created" });
      log.info("Claim created", { namespace, name: claim.name, pod: pod.name });
    } catch (error) {
      if (!isStatus(error, 409)) throw error;
      await checkOwner(pod, claim, signal);
    }
  }

  /** A claim of the same name is fine if it was created for the same pod. */
  async function checkOwner({ namespace, name, uid }: PendingPod, claim: PodClaim, signal: AbortSignal): Promise<void> {
    const response = await request(claimPath(namespace, claim.name), { signal });
    const { metadata } = (await response.json()) as ResourceClaim;
    const owner = metadata.ownerReferences?.find(({ controller }) => controller);
    if (owner?.uid === uid) return;
    const whose = owner ? `${owner.kind} ${owner.name} with uid ${owner.uid}` : "no pod";
    throw new Error(`claim ${claim.name} exists and belongs to ${whose}: expected pod ${name} with uid ${uid}`);
  }

  async function report({ namespace, name, uid }: PendingPod, reason: string, message: string): Promise<void> {
    log.warn(message, { namespace, pod: name });
    const object = { kind: "Pod", apiVersion: "v1", namespace, name, uid };
    await record({ object, type: "Warning", reason, message }).catch((error) =>
      log.warn("Cannot record an event", { namespace, pod: name, reason: messageOf(error) }),
    );
  }

  function apply(change: ObjectChange<PendingPod>): void {
    if (change.type === "put") start(change.key, change.object);
    else if (change.type === "delete") stop(change.key);
    else {
      for (const key of pods.keys()) if (!change.objects.has(key)) stop(key);
      for (const [key, pod] of change.objects) start(key, pod);
    }
  }

  return {
    async run(signal) {
      ended = signal;
      // Once a pod is bound, it leaves the selection: the scheduler has allocated its claims.
      const query = { fieldSelector: "spec.nodeName=" };
      try {
        const watch = { request, path: PODS, query, transform: summarizePod, log };
        for await (const change of watchObjects<Pod, PendingPod>(watch, signal)) {
          pending.apply(change);
          apply(change);
        }
      } finally {
        for (const key of [...pods.keys()]) stop(key);
        await Promise.allSettled(running);
      }
    },
    nodesOf({ namespace, name, uid }) {
      const pod = pods.get(`${namespace}/${name}`)?.pod;
      return pod?.uid === uid ? pod.nodes : undefined;
    },
    onClaimDeleted(claim) {
      const key = podKeys.get(claim);
      const entry = key === undefined ? undefined : pods.get(key);
      if (key === undefined || !entry) return;
      stop(key);
      start(key, entry.pod);
    },
  };
}

function claimsOf({ claims }: PendingPod): readonly PodClaim[] {
  return "refused" in claims ? [] : claims;
}

/** The claim of a pod. Kubernetes deletes it with the pod, and when the pod has ended. */
function toResourceClaim({ namespace, name, uid }: PendingPod, claim: PodClaim): ResourceClaim & object {
  return {
    apiVersion: "resource.k8s.io/v1",
    kind: "ResourceClaim",
    metadata: {
      name: claim.name,
      namespace,
      labels: managedBy(CONTROLLER),
      annotations: {
        [CLAIM_ANNOTATIONS.share]: formatShare(claim.share),
        [CLAIM_ANNOTATIONS.containers]: claim.containers.join(" "),
        ...(claim.filters.length > 0 ? { [CLAIM_ANNOTATIONS.filter]: claim.filters.map(formatFilter).join(" ") } : {}),
      },
      ownerReferences: [podReference({ metadata: { namespace, name, uid } })],
    },
    spec: claimSpec(claim),
  } as ResourceClaim;
}
