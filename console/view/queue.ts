import type { Event } from "../../kubernetes/objects/event.ts";
import { claimsOfPod, type Pod } from "../../kubernetes/objects/pod.ts";
import type { ResourceClaim } from "../../kubernetes/objects/resource_claim.ts";
import { type WaitingClaim, waitingClaim } from "../../pool/claims/waiting_claim.ts";
import { POD_CLAIMS_ANNOTATION, type PodClaim, parsePodClaims } from "../../pool/pod_claims.ts";
import { describeRequest } from "../../pool/requests/gpu_request.ts";
import { shortageChecks } from "../../pool/requests/shortage_checks.ts";
import type { GpuSupply } from "../../pool/requests/supply.ts";
import { messageOf } from "../../program/log/log.ts";
import { type EventIndex, eventReasons } from "./events.ts";
import { isEnding, type PodIndex } from "./pods.ts";
import { byTexts, foreignText } from "./text.ts";
import type { RequestView, WaitingPod } from "./types.ts";

export interface QueueInput {
  /** By namespace/name. */
  readonly claims: ReadonlyMap<string, ResourceClaim>;
  readonly pods: PodIndex;
  readonly events: EventIndex;
  /** Undefined if it is not known: only the scheduler and the controller can then say what a pod lacks. */
  readonly supply: readonly GpuSupply[] | undefined;
}

/**
 * The most different shortages that are computed for a view: each looks at every GPU, and tenants choose how many there are. The other pods
 * have the reason that the controller told them in an event.
 */
const MAX_SHORTAGES = 100;

/** A pod that waits, before its reasons are known. */
interface Entry {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly pod: Pod | undefined;
  readonly since: string;
  readonly claims: readonly WaitingClaim[];
  readonly requests: readonly RequestView[];
  /** Why the pod has no claims, or not all. */
  readonly missing: readonly string[];
}

/** The pods that wait for a share. */
export function waitingPods(input: QueueInput): WaitingPod[] {
  const entries = [...podsInQueue(input), ...claimsInQueue(input)].sort(inTurn);
  const shortageOf = createShortages(input.supply);
  return entries.map(({ namespace, name, uid, pod, since, claims, requests, missing }) => {
    const shortage = shortageOf(claims);
    return {
      namespace,
      pod: name,
      podUid: uid,
      since,
      priority: pod?.spec.priority ?? 0,
      reasons: reasonsOf({ pod, missing, shortage, events: input.events.of({ namespace, name, uid }) }),
      requests,
    };
  });
}

/** The pods that need claims which are not all allocated. */
function* podsInQueue({ pods, claims }: QueueInput): Generator<Entry> {
  for (const pod of pods.all) {
    if (pod.spec.nodeName !== undefined || isEnding(pod)) continue;
    const { namespace, name, uid = "", creationTimestamp = "", annotations = {} } = pod.metadata;
    const text = annotations[POD_CLAIMS_ANNOTATION];
    const existing = [...new Set(claimsOfPod(pod).values())].flatMap(
      (claim) => claims.get(`${namespace}/${claim}`) ?? [],
    );
    const waiting = existing.flatMap((claim) => waitingClaim(claim) ?? []);
    const { wanted, refused } = text === undefined ? { wanted: [], refused: undefined } : read(text);
    const absent = wanted.filter((claim) => !claims.has(`${namespace}/${claim.name}`));
    if (waiting.length === 0 && absent.length === 0 && refused === undefined) continue;
    yield {
      namespace,
      name,
      uid,
      pod,
      since: creationTimestamp,
      claims: waiting.sort(byTexts(({ description }) => description)),
      requests: wanted.length > 0 ? wanted.map(toRequest) : existing.flatMap((claim) => requestOf(claim) ?? []),
      missing: [
        ...(refused === undefined ? [] : [`gets no claims: ${refused}`]),
        ...absent.map((claim) => `its claim ${claim.name} does not exist yet`),
      ],
    };
  }
}

/** The pods of claims that wait, of which only the claims tell: they could not be read. */
function* claimsInQueue({ pods, claims }: QueueInput): Generator<Entry> {
  if (pods.isKnown) return;
  const waiting = [...claims.values()].flatMap((claim) => {
    const own = waitingClaim(claim);
    return own?.pod ? [{ claim, own, pod: own.pod }] : [];
  });
  for (const group of Map.groupBy(waiting, ({ own, pod }) => `${own.namespace}/${pod.uid}`).values()) {
    const [{ own, pod }] = group as [(typeof group)[number]];
    yield {
      namespace: own.namespace,
      name: pod.name,
      uid: pod.uid,
      pod: undefined,
      since: group.map(({ claim }) => claim.metadata.creationTimestamp ?? "").sort()[0] ?? "",
      claims: group.map((each) => each.own).sort(byTexts(({ description }) => description)),
      requests: group.flatMap(({ claim }) => requestOf(claim) ?? []).sort(byTexts(({ claim }) => claim)),
      missing: [],
    };
  }
}

/** A tenant can write the annotation. */
function read(text: string): { wanted: readonly PodClaim[]; refused: string | undefined } {
  try {
    return { wanted: parsePodClaims(text), refused: undefined };
  } catch (error) {
    return { wanted: [], refused: messageOf(error) };
  }
}

function toRequest(claim: PodClaim): RequestView {
  const { name, containers, share, units } = claim;
  const text = foreignText(describeRequest({ ...claim, count: share.gpus }));
  return { claim: name, containers, text, count: share.gpus, units };
}

function requestOf(claim: ResourceClaim): RequestView | undefined {
  const waiting = waitingClaim(claim);
  if (!waiting) return undefined;
  const { request } = waiting;
  const { count, units } = request;
  return { claim: claim.metadata.name, containers: [], text: foreignText(describeRequest(request)), count, units };
}

/** Those of higher priority first, then those that wait longer, as kube-scheduler's queue. */
function inTurn(a: Entry, b: Entry): number {
  return (b.pod?.spec.priority ?? 0) - (a.pod?.spec.priority ?? 0) || byAge(a, b);
}

const byAge = byTexts<Entry>(
  ({ since }) => since,
  ({ namespace }) => namespace,
  ({ name }) => name,
);

/** What the pool lacks for a pod. */
interface Shortage {
  /** Whether it was computed. */
  readonly isKnown: boolean;
  /** Undefined: nothing, as far as it is known. */
  readonly text?: string;
}

/** Computes what pods lack, each shortage once. */
function createShortages(supply: readonly GpuSupply[] | undefined): (claims: readonly WaitingClaim[]) => Shortage {
  const known = new Map<string, string | undefined>();
  return (claims) => {
    if (!supply) return { isKnown: false };
    for (const { key, describe, inMessage } of shortageChecks(claims, supply)) {
      if (!known.has(key)) {
        if (known.size >= MAX_SHORTAGES) return { isKnown: false };
        known.set(key, describe());
      }
      const shortage = known.get(key);
      if (shortage !== undefined) return { isKnown: true, text: foreignText(inMessage(shortage)) };
    }
    return { isKnown: claims.length > 0 };
  };
}

interface Known {
  readonly pod: Pod | undefined;
  readonly missing: readonly string[];
  readonly shortage: Shortage;
  readonly events: readonly Event[];
}

function reasonsOf({ pod, missing, shortage, events }: Known): string[] {
  const gates = (pod?.spec.schedulingGates ?? []).map(({ name }) => name);
  const condition = pod?.status?.conditions?.find(({ type, status }) => type === "PodScheduled" && status === "False");
  const reasons = [
    ...(gates.length > 0 ? [`held back by the scheduling gates ${gates.join(", ")}`] : []),
    ...missing,
    ...(shortage.text === undefined ? [] : [shortage.text]),
    ...eventReasons(events, shortage.isKnown ? ["WaitingForPool"] : []), // the event may be older
    ...(condition?.message ? [`scheduler: ${condition.message}`] : []),
  ];
  return [...new Set(reasons.map(foreignText))];
}
