import { hasEnded, type Pod } from "../../kubernetes/objects/pod.ts";

/** The pods of a cluster. */
export interface PodIndex {
  /** Whether the pods could be read. */
  readonly isKnown: boolean;
  /** A pod by its uid, or by its name if no uid is given. */
  find(pod: { namespace: string; name: string; uid: string }): Pod | undefined;
  readonly all: Iterable<Pod>;
}

export function indexPods(pods: Iterable<Pod> | undefined): PodIndex {
  const all = [...(pods ?? [])];
  const byName = new Map(all.map((pod) => [`${pod.metadata.namespace}/${pod.metadata.name}`, pod]));
  return {
    isKnown: pods !== undefined,
    all,
    find({ namespace, name, uid }) {
      const pod = byName.get(`${namespace}/${name}`);
      return uid === "" || pod?.metadata.uid === uid ? pod : undefined; // a new pod may have the name of an old one
    },
  };
}

/** Whether a pod is over, or about to be. */
export function isEnding(pod: Pod): boolean {
  return pod.metadata.deletionTimestamp !== undefined || hasEnded(pod);
}
