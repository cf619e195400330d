import { lastSeen } from "../../../kubernetes/objects/event.ts";
import { hasEnded, type Pod, requestedByPod } from "../../../kubernetes/objects/pod.ts";
import { READY_NODE_LABEL, RESOURCE_NAME } from "../../../pool/driver.ts";
import type { PoolView, Refusal } from "../../view/types.ts";
import { type WayStep, wayOfPod } from "../../view/way.ts";
import { explainNoShare } from "./admission.ts";
import type { PodFacts } from "./facts.ts";
import { checkGate } from "./gate.ts";
import type { Finding, Step, StepName, StepState } from "./steps.ts";

/** The way of a pod to its GPUs, with what is missing and what to do. */
export function explainPod(facts: PodFacts): Step[] {
  const { pod, view } = facts;
  const way = new Map(wayOfPod(pod, view).steps.map((step) => [step.name, step]));
  const steps: Step[] = [];
  const add = (name: StepName, finding: Finding) => void steps.push({ name, ...finding });
  const addStep = (name: WayStep["name"], advise: (step: WayStep) => Finding) => {
    const step = way.get(name);
    if (step) add(name, advise(step));
  };

  addStep("admission", (step) => (step.state === "failed" ? explainNoShare(facts) : toFinding(step)));
  if (steps[0]?.state === "failed") return steps; // nothing of the pool is for this pod
  if (hasEnded(pod)) return [...steps, ...endOf(pod)];
  add("quota", quotaOf(facts));
  addStep("claims", (step) => withAdvice(step, adviseClaims(step.text)));
  addStep("allocation", (step) => withAdvice(step, adviseAllocation(view)));
  addStep("node", (step) => nodeOf(step, facts));
  addStep("lease", (step) => leaseOf(step, facts));
  add("gate", gateOf(facts));
  addStep("containers", (step) => withAdvice(step, adviseContainers(pod)));
  return steps;
}

/** The way of pods that an owner cannot create: it ends at the first step. */
export function explainRefusal({ kind, name, namespace, message, count }: Refusal): Step[] {
  const owner = `${kind.toLowerCase()}/${name}`;
  const text = `The API server refuses the pods of ${owner} (${count} ${count === 1 ? "time" : "times"}): ${message}`;
  const isQuota = /exceeded quota/.test(message);
  const advice = isQuota
    ? `Delete pods that count in the namespace ${namespace}, or ask for a higher quota: the owner tries again by itself`
    : `Change the pod template of ${owner} as the message says. kubectl bitfusion fits -f FILE checks it before you apply it`;
  return [{ name: isQuota ? "quota" : "admission", state: "failed", text, advice }];
}

/** The last step of a pod that has ended and given its GPUs back. */
function endOf(pod: Pod): Step[] {
  if (pod.status?.phase === "Succeeded")
    return [{ name: "containers", state: "ok", text: "Have ended with success; the GPUs are given back" }];
  const reason = pod.status?.message ? `: ${pod.status.message}` : "";
  const text = `Have failed${reason}; the GPUs are given back`;
  return [{ name: "containers", state: "failed", text, advice: adviseContainers(pod) }];
}

const STATES: Readonly<Record<WayStep["state"], StepState>> = {
  done: "ok",
  waiting: "waiting",
  failed: "failed",
  later: "later",
};

function toFinding({ state, text }: WayStep): Finding {
  return { state: STATES[state], text };
}

/** The advice is for a step that is not done. */
function withAdvice(step: WayStep, advice: string | undefined): Finding {
  const finding = toFinding(step);
  const isStuck = step.state === "waiting" || step.state === "failed";
  return isStuck && advice !== undefined ? { ...finding, advice } : finding;
}

function quotaOf({ pod, quotas }: PodFacts): Finding {
  const units = requestedByPod(pod, RESOURCE_NAME);
  if (!quotas)
    return { state: "unknown", text: "You may not list the ResourceQuotas: the pod exists, so none refused it" };
  if (quotas.length === 0) return { state: "ok", text: "No ResourceQuota counts units in this namespace" };
  const texts = quotas.map(({ name, used, hard }) => `${used} of ${hard} units of the quota ${name} are used`);
  return { state: "ok", text: `Counts ${units} units: ${texts.join(", ")}` };
}

function adviseClaims(text: string): string {
  if (/does not exist/.test(text)) {
    return "bitfusion-controller makes it. If it stays so: kubectl get deployment,pods -n bitfusion-system";
  }
  return "Create the pod again from a manifest without the annotation bitfusion.io/claims";
}

function adviseAllocation({ totals, queue }: PoolView): string {
  const parts = ["kubectl bitfusion pods -A shows who holds the GPUs"];
  if (totals.blockedUnits > 0)
    parts.push(`kubectl bitfusion pool shows why ${totals.blockedUnits} units are kept from new pods`);
  if (queue.length > 1) parts.push(`${queue.length} pods wait`);
  parts.push("a smaller share, or fewer filters, may find room");
  return parts.join("; ");
}

function nodeOf(step: WayStep, { node, pod }: PodFacts): Finding {
  const finding = withAdvice(
    step,
    `kubectl describe pod ${pod.metadata.name} -n ${pod.metadata.namespace} shows what the scheduler says`,
  );
  if (step.state !== "done" || !node || node.metadata.labels?.[READY_NODE_LABEL] !== undefined) return finding;
  return {
    state: "failed",
    text: `${step.text}, on which the driver is not ready`,
    advice: `kubectl get pods -n bitfusion-node --field-selector spec.nodeName=${node.metadata.name}`,
  };
}

/** The kubelet tells the driver's errors in an event. */
function leaseOf(step: WayStep, { events, pod }: PodFacts): Finding {
  const [newest] = events
    .filter(({ reason }) => reason === "FailedPrepareDynamicResources")
    .sort((a, b) => (lastSeen(a) < lastSeen(b) ? 1 : -1));
  const advice = `If it stays so, see the driver on the node: kubectl logs -n bitfusion-node -l app.kubernetes.io/name=bitfusion-device-plugin`;
  if (step.state === "waiting" && newest?.message) {
    return { state: "waiting", text: newest.message, advice };
  }
  if (step.state !== "failed") return withAdvice(step, advice);
  return withAdvice(
    step,
    `${pod.metadata.name} gets another GPU only as a new pod: delete it if its owner creates it again`,
  );
}

function gateOf({ pod, policies, namespaceLabels, view }: PodFacts): Finding {
  const { namespace, name, uid } = pod.metadata;
  const isOwn = (share: { namespace: string; pod: string; podUid: string }) =>
    share.namespace === namespace && (uid === undefined ? share.pod === name : share.podUid === uid);
  const own = view.holders.filter(isOwn).map(({ server }) => server);
  const servers = [...new Set(own.length > 0 ? own : view.servers.map(({ address }) => address))]
    .filter(Boolean)
    .sort();
  if (!policies)
    return { state: "unknown", text: "You may not list the NetworkPolicies, which may close the way to the servers" };
  const finding = checkGate({ pod, policies, namespaceLabels: namespaceLabels ?? {}, servers });
  // A pod without GPUs may get some of a server that it reaches.
  return own.length === 0 && finding.state === "ok" ? { state: "later", text: "" } : finding;
}

function adviseContainers({ metadata: { name, namespace } }: Pod): string {
  return `kubectl logs ${name} -n ${namespace} --all-containers; kubectl describe pod ${name} -n ${namespace}`;
}
