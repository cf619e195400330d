import type { ObjectReference } from "../../../kubernetes/events.ts";
import type { ClaimId, ReadClaim, ReadPod } from "./claim.ts";

/** A pod, for events about it. */
export type Consumer = ObjectReference & { readonly uid: string };

/** Finds the pods of this node that a claim is reserved for. None if the claim is gone. */
export type FindConsumers = (claim: ClaimId, signal: AbortSignal) => Promise<Consumer[]>;

export interface ConsumerFinderOptions {
  readClaim: ReadClaim;
  readPod: ReadPod;
  /** Name of the node. */
  node: string;
}

export function createConsumerFinder({ readClaim, readPod, node }: ConsumerFinderOptions): FindConsumers {
  return async (claim, signal) => {
    const { namespace } = claim;
    const stored = await readClaim(claim, signal);
    const reservedFor = stored?.metadata.uid === claim.uid ? (stored.status?.reservedFor ?? []) : [];
    const found: Consumer[] = [];
    for (const { resource, name, uid } of reservedFor) {
      if (resource !== "pods") continue;
      const pod = await readPod({ namespace, name }, signal);
      if (pod?.metadata.uid !== uid || pod.spec.nodeName !== node) continue;
      found.push({ kind: "Pod", apiVersion: "v1", namespace, name, uid });
    }
    return found;
  };
}
