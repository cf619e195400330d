import type { ContainerStatus, Pod } from "../../kubernetes/objects/pod.ts";
import { hasEnded, requestedByPod } from "../../kubernetes/objects/pod.ts";
import { RESOURCE_NAME } from "../../pool/driver.ts";
import { POD_CLAIMS_ANNOTATION, parsePodClaims } from "../../pool/pod_claims.ts";
import { foreignText } from "./text.ts";
import type { HeldShare, PoolView, WaitingPod } from "./types.ts";

/** The way of a pod to its GPUs, as far as the API server tells it. */
export interface PodWay {
  readonly namespace: string;
  readonly pod: string;
  /** In the order in which a pod passes them. */
  readonly steps: readonly WayStep[];
}

export interface WayStep {
  readonly name: "admission" | "claims" | "allocation" | "node" | "lease" | "containers";
  /** `waiting`: this is what the pod waits for now. `later`: the steps before it come first. */
  readonly state: "done" | "waiting" | "failed" | "later";
  /** What happened, or what is missing: a sentence without a full stop. */
  readonly text: string;
}

/** What is known of a step: it is done, it has failed, or the pod waits for it. */
type Outcome = Pick<WayStep, "text"> & { readonly state: "done" | "waiting" | "failed" };

/** The steps of a pod: those up to the first that is not done, and then the names of the others. */
export function wayOfPod(pod: Pod, { holders, queue }: Pick<PoolView, "holders" | "queue">): PodWay {
  const { namespace, name, uid = "" } = pod.metadata;
  const isOwn = (each: { namespace: string; podUid: string; pod: string }) =>
    each.namespace === namespace && (uid === "" ? each.pod === name : each.podUid === uid);
  const waiting = queue.find(isOwn);
  const shares = holders.filter(
    (share) => isOwn(share) || (share.namespace === namespace && share.otherPods.includes(name)),
  );
  const outcomes: readonly [WayStep["name"], () => Outcome][] = [
    ["admission", () => admission(pod)],
    ["claims", () => claims(pod, waiting)],
    ["allocation", () => allocation(shares, waiting)],
    ["node", () => node(pod)],
    ["lease", () => lease(pod, shares)],
    ["containers", () => containers(pod)],
  ];
  const steps: WayStep[] = [];
  for (const [step, outcome] of outcomes) {
    const isOpen = steps.every(({ state }) => state === "done");
    steps.push(isOpen ? { name: step, ...outcome() } : { name: step, state: "later", text: "" });
  }
  return { namespace, pod: name, steps };
}

function admission(pod: Pod): Outcome {
  const units = requestedByPod(pod, RESOURCE_NAME);
  if (pod.metadata.annotations?.[POD_CLAIMS_ANNOTATION] !== undefined || units > 0) {
    return { state: "done", text: `Admitted with ${units} units of ${RESOURCE_NAME}` };
  }
  const text = `The pod requests no share of the pool: it has neither the annotation ${POD_CLAIMS_ANNOTATION} nor ${RESOURCE_NAME}`;
  return { state: "failed", text };
}

function claims(pod: Pod, waiting: WaitingPod | undefined): Outcome {
  const count = countClaims(pod);
  if (count === undefined) return { state: "failed", text: waiting?.reasons[0] ?? "Its claims cannot be read" };
  const missing = waiting?.reasons.find((reason) => /^(gets no claims|its claim .* does not exist)/.test(reason));
  if (missing !== undefined) return { state: "waiting", text: waiting?.reasons.join("; ") ?? missing };
  return { state: "done", text: count === 1 ? "Its claim exists" : `Its ${count} claims exist` };
}

/** Undefined if the annotation is not valid: a tenant can write it. */
function countClaims(pod: Pod): number | undefined {
  const text = pod.metadata.annotations?.[POD_CLAIMS_ANNOTATION];
  if (text === undefined) return pod.spec.resourceClaims?.length ?? 0;
  try {
    return parsePodClaims(text).length;
  } catch {
    return undefined;
  }
}

function allocation(shares: readonly HeldShare[], waiting: WaitingPod | undefined): Outcome {
  if (waiting) {
    const reasons = waiting.reasons.join("; ");
    return { state: "waiting", text: reasons || "The pool has room: the scheduler has not decided yet" };
  }
  if (shares.length === 0) return { state: "failed", text: "It holds no share: its claims were deleted or have ended" };
  const held = shares.map(({ units, gpu }) => `${units} % of ${gpu}`);
  return { state: "done", text: `Holds ${new Intl.ListFormat("en-GB").format(held)}` };
}

function node({ spec, status }: Pod): Outcome {
  if (spec.nodeName !== undefined) return { state: "done", text: `Bound to node ${spec.nodeName}` };
  const condition = status?.conditions?.find(({ type }) => type === "PodScheduled");
  return { state: "waiting", text: foreignText(condition?.message || "The scheduler has not bound it to a node yet") };
}

function lease(pod: Pod, shares: readonly HeldShare[]): Outcome {
  const failing = shares.find(({ state }) => state === "failing");
  if (failing) return { state: "failed", text: failing.message };
  if (shares.every(({ state }) => state === "ready")) {
    const servers = [...new Set(shares.map(({ server }) => server))];
    return { state: "done", text: `Held on ${new Intl.ListFormat("en-GB").format(servers)}` };
  }
  const unknown = shares.find(({ state, message }) => state === "unknown" && message !== "");
  if (hasStarted(pod)) return { state: "done", text: unknown?.message ?? "The driver has not reported it yet" };
  return { state: "waiting", text: "The driver on the node takes it from the pool servers" };
}

function hasStarted(pod: Pod): boolean {
  return pod.status?.phase === "Running" || hasEnded(pod);
}

function containers({ status }: Pod): Outcome {
  const { phase, containerStatuses = [] } = status ?? {};
  if (phase === "Succeeded") return { state: "done", text: "They have ended with success" };
  if (phase === "Failed") {
    return {
      state: "failed",
      text: foreignText(status?.message || describeEnd(containerStatuses) || "They have failed"),
    };
  }
  const blocked = containerStatuses.find(({ state }) => state?.waiting?.message);
  if (blocked) {
    const { reason = "", message = "" } = blocked.state?.waiting ?? {};
    return { state: "waiting", text: foreignText(`${blocked.name}: ${reason}: ${message}`) };
  }
  if (phase === "Running") return { state: "done", text: "They run" };
  return { state: "waiting", text: "The kubelet starts them" };
}

function describeEnd(statuses: readonly ContainerStatus[]): string {
  return statuses
    .flatMap(({ name, state }) =>
      state?.terminated ? [`${name} has ended with status ${state.terminated.exitCode}`] : [],
    )
    .join(", ");
}
