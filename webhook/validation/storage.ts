import { bytesOf, formatMebibytes } from "../../kubernetes/formats/quantity.ts";
import { totalOfPod } from "../../kubernetes/objects/pod.ts";
import type { CopiedClient } from "../clients/catalogue.ts";
import { type Container, containersOf, type Pod } from "../pod/pod.ts";
import { Refusal } from "../pod/refusal.ts";

const STORAGE = "ephemeral-storage";

/**
 * Checks the limits of ephemeral storage, which the client's files count against: the kubelet evicts a pod whose volumes and containers
 * take more than the limits of its containers together. Returns a warning about what is left; undefined if there is no limit.
 *
 * @throws {Refusal} if the client alone takes that much: the pod would be evicted soon after its start.
 */
export function checkStorage(pod: Pod, { name, size }: CopiedClient): string | undefined {
  if (size === undefined || containersOf(pod).every((container) => limitOf(container) === undefined)) return undefined;
  const limit = totalOfPod(pod, (container) => bytesOf(limitOf(container) ?? 0) ?? 0);
  const needed = bytesOf(size) ?? 0;
  if (limit < needed) {
    throw new Refusal(
      "storage",
      `The containers' limits["${STORAGE}"] are ${formatMebibytes(limit)} together, but the client ${name} takes ${size} of them: expected ${size} more than your containers need`,
    );
  }
  return `The client takes ${size} of the pod's ${formatMebibytes(limit)} of ${STORAGE}`.slice(0, 120);
}

function limitOf({ resources }: Container): string | number | undefined {
  return resources?.limits?.[STORAGE];
}
