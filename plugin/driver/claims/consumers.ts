import type { ObjectReference } from "../../../kubernetes/events.ts";
import type { ResourceClaim } from "../../../kubernetes/objects/resource_claim.ts";
import type { ClaimId, ReadClaim, ReadPod } from "./claim.ts";

/** A pod, for events about it. */
export type Consumer = ObjectReference & { readonly uid: string };

/** Finds the pods of this node that a claim is reserved for. None if the claim is gone. */
export type FindConsumers = (claim: ClaimId, signal: AbortSignal) => Promise<Consumer[]>;

/** The pods that a claim is reserved for, on any node. */
export function podsOf(claim: ResourceClaim | undefined): Consumer[] {
  const namespace = claim?.metadata.namespace ?? "";
  const pods = (claim?.status?.reservedFor ?? []).filter(({ resource }) => resource === "pods");
  return pods.map(({ name, uid }) => ({ kind: "Pod", apiVersion: "v1", namespace, name, uid }));
}

export interface ConsumerFinderOptions {
  readClaim: ReadClaim;
  readPod: ReadPod;
  /** Name of the node. */
  node: string;
}

export function createConsumerFinder({ readClaim, readPod, node }: ConsumerFinderOptions): FindConsumers {
  return async (claim, signal) => {
    const stored = await readClaim(claim, signal);
    const found: Consumer[] = [];
    for (const consumer of stored?.metadata.uid === claim.uid ? podsOf(stored) : []) {
      const pod = await readPod(consumer, signal);
      if (pod?.metadata.uid === consumer.uid && pod.spec.nodeName === node) found.push(consumer);
    }
    return found;
  };
}
