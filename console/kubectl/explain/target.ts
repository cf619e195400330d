import type { Pod } from "../../../kubernetes/objects/pod.ts";
import type { PoolView, Refusal } from "../../view/types.ts";
import { UserError } from "../user_error.ts";

/** Kinds that own pods, by the names that kubectl takes. */
const KINDS: Readonly<Record<string, string>> = {
  ...names("Pod", "pod", "pods", "po"),
  ...names("Job", "job", "jobs"),
  ...names("Deployment", "deployment", "deployments", "deploy"),
  ...names("ReplicaSet", "replicaset", "replicasets", "rs"),
  ...names("StatefulSet", "statefulset", "statefulsets", "sts"),
  ...names("DaemonSet", "daemonset", "daemonsets", "ds"),
};

function names(kind: string, ...all: string[]): Record<string, string> {
  return Object.fromEntries(all.map((name) => [name, kind]));
}

/** What `explain` is asked about: a pod, or an owner of pods. */
export interface Target {
  /** Undefined: a pod, or whatever has this name. */
  readonly kind: string | undefined;
  readonly name: string;
}

/** Parses `train`, `pod/train` or `job/train`. @throws {UserError} lists the kinds. */
export function parseTarget(text: string): Target {
  const [, type, name] = /^([^/]+)\/([^/]+)$/.exec(text) ?? [];
  if (type === undefined || name === undefined) {
    if (text !== "" && !text.includes("/")) return { kind: undefined, name: text };
    throw new UserError(`Cannot explain "${text}": expected a pod, or TYPE/NAME such as job/train`);
  }
  const kind = Object.hasOwn(KINDS, type.toLowerCase()) ? KINDS[type.toLowerCase()] : undefined;
  if (kind) return { kind, name };
  const kinds = [...new Set(Object.values(KINDS))].map((each) => each.toLowerCase());
  throw new UserError(`Cannot explain "${text}": expected one of the types ${kinds.join(", ")}`);
}

/** The pods of a target, by name. */
export function podsOfTarget({ kind, name }: Target, pods: readonly Pod[]): readonly Pod[] {
  const found = pods.filter((pod) => {
    if (kind === "Pod") return pod.metadata.name === name;
    return isOwnedBy(pod, kind, name) || (kind === undefined && pod.metadata.name === name);
  });
  return found.toSorted((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1));
}

/** A Deployment owns a ReplicaSet whose name ends with the hash of the pod template. */
function isOwnedBy({ metadata }: Pod, kind: string | undefined, name: string): boolean {
  const hash = metadata.labels?.["pod-template-hash"];
  return (metadata.ownerReferences ?? []).some((owner) => {
    const isDeployment = owner.kind === "ReplicaSet" && hash !== undefined && owner.name === `${name}-${hash}`;
    if (isDeployment && (kind === "Deployment" || kind === undefined)) return true;
    return owner.name === name && (kind === undefined || owner.kind === kind);
  });
}

/** The refusals that keep the pods of a target from being created. */
export function refusalsOfTarget(
  { kind, name }: Target,
  namespace: string,
  refusals: readonly Refusal[],
): readonly Refusal[] {
  return refusals.filter((refusal) => {
    if (refusal.namespace !== namespace) return false;
    const isOfDeployment =
      refusal.kind === "ReplicaSet" &&
      /^-[a-z0-9]+$/.test(refusal.name.startsWith(name) ? refusal.name.slice(name.length) : "");
    if (kind === "Deployment") return isOfDeployment;
    if (kind === "Pod") return name.startsWith(`${refusal.name}-`);
    if (kind !== undefined) return refusal.kind === kind && refusal.name === name;
    return refusal.name === name || isOfDeployment || name.startsWith(`${refusal.name}-`);
  });
}

/** The pod that most needs an explanation: one that waits, else one whose share fails, else the first. */
export function choosePod(pods: readonly Pod[], { queue, holders }: PoolView): Pod | undefined {
  const isOf = (pod: Pod) => (each: { namespace: string; pod: string }) =>
    each.namespace === pod.metadata.namespace && each.pod === pod.metadata.name;
  return (
    pods.find((pod) => queue.some(isOf(pod))) ??
    pods.find((pod) => holders.some((share) => share.state !== "ready" && isOf(pod)(share))) ??
    pods[0]
  );
}
