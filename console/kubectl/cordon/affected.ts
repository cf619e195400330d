import type { Pod } from "../../../kubernetes/objects/pod.ts";
import type { GpuView, HeldShare, PoolView } from "../../view/types.ts";

/** The shares of GPUs, by namespace, pod and GPU. A GPU is named by its device, which is the same wherever it is published. */
export function sharesOn({ holders }: Pick<PoolView, "holders">, gpus: readonly GpuView[]): readonly HeldShare[] {
  const devices = new Set(gpus.map(({ device }) => device));
  return holders.filter(({ device }) => devices.has(device));
}

/** The name of the holder of a share, for people: namespace/pod, or the claim if it has no pod. */
export function holderOf({ namespace, pod, claim }: HeldShare): string {
  return pod === "" ? `${namespace}/claim ${claim}` : `${namespace}/${pod}`;
}

/** The holders that nothing creates again when they are evicted: pods without a controller, and claims without a pod. */
export function holdersWithoutController(shares: readonly HeldShare[], pods: Iterable<Pod>): string[] {
  const controlled = new Set(
    [...pods].filter(isControlled).map(({ metadata: { namespace, name } }) => `${namespace}/${name}`),
  );
  return [...new Set(shares.map(holderOf))].filter((holder) => !controlled.has(holder));
}

function isControlled({ metadata: { ownerReferences = [] } }: Pod): boolean {
  return ownerReferences.some(({ controller }) => controller);
}
