import { parseInteger } from "../../kubernetes/formats/quantity.ts";
import { UNITS_PER_GPU } from "../../pool/units.ts";
import { quote } from "../../program/text/quote.ts";
import { ANNOTATIONS, NVIDIA_GPU, SHARE_LIMITS, UNITS } from "./keys.ts";
import { type Container, containersOf, type Pod, quantityOf } from "./pod.ts";
import { Refusal } from "./refusal.ts";
import { find, MAX_GPUS, refuseIn, toCount } from "./requested_share.ts";

/** Whether a container requests GPUs as charts do. To Kubernetes, a request for none is as good as no request. */
export function requestsNvidiaGpus(container: Container): boolean {
  const gpus = quantityOf(container, NVIDIA_GPU);
  return gpus !== undefined && parseInteger(gpus) !== 0;
}

/**
 * The pod with shares of the pool instead of the GPUs that its containers request as `nvidia.com/gpu`, which no node may have: as many GPUs,
 * at 100 percent or what the pod's annotation says. All else stays as it is. The pod itself if no container requests any.
 *
 * @throws {Refusal} if the annotation or a quantity is not valid, and if a container requests a share, too.
 */
export function withSharesOfNvidiaGpus(pod: Pod): Pod {
  const percent = readPercent(pod.metadata.annotations ?? {});
  if (!containersOf(pod).some(requestsNvidiaGpus)) return pod;
  const replaceGpus = (container: Container) =>
    requestsNvidiaGpus(container) ? withShare(container, percent) : container;
  const { initContainers, containers } = pod.spec;
  return {
    ...pod,
    spec: {
      ...pod.spec,
      ...(initContainers ? { initContainers: initContainers.map(replaceGpus) } : {}),
      containers: containers.map(replaceGpus),
    },
  };
}

function readPercent(annotations: Readonly<Record<string, string>>): number {
  const value = annotations[ANNOTATIONS.percent];
  if (value === undefined) return UNITS_PER_GPU;
  const percent = parseInteger(value);
  if (percent !== undefined && percent >= 1 && percent <= UNITS_PER_GPU) return percent;
  throw new Refusal(
    "share",
    `Annotation ${ANNOTATIONS.percent} is ${quote(value)}: expected a whole number from 1 to ${UNITS_PER_GPU}`,
  );
}

function withShare(container: Container, percent: number): Container {
  const request = find(container, NVIDIA_GPU);
  if (!request) return container;
  const refuse = refuseIn(container);
  for (const key of [...Object.values(SHARE_LIMITS), UNITS]) {
    const share = find(container, key);
    if (share) throw refuse(request, `but ${share.field} is ${quote(share.value)}: set one of the two`);
  }
  const gpus = toCount(request, MAX_GPUS, refuse);
  const { [NVIDIA_GPU]: _limit, ...limits } = container.resources?.limits ?? {};
  const { [NVIDIA_GPU]: _request, ...requests } = container.resources?.requests ?? {};
  const share = { [SHARE_LIMITS.num]: gpus, [SHARE_LIMITS.percent]: percent };
  return { ...container, resources: { ...container.resources, limits: { ...limits, ...share }, requests } };
}
