import { parseInteger } from "../../kubernetes/objects/quantity.ts";
import { UNITS } from "../pod/keys.ts";
import { type Container, type Pod, quantityOf } from "../pod/pod.ts";

/**
 * The units that the scheduler counts for a pod: the maximum of its app containers and sidecars together, and of each init container
 * with the sidecars that started before it (KEP-753).
 */
export function unitsOfPod({ spec }: Pod): number {
  let sidecars = 0;
  let maximum = 0;
  for (const container of spec.initContainers ?? []) {
    const units = unitsOf(container);
    if (container.restartPolicy === "Always") sidecars += units;
    else maximum = Math.max(maximum, sidecars + units);
  }
  return Math.max(
    maximum,
    spec.containers.reduce((total, container) => total + unitsOf(container), sidecars),
  );
}

function unitsOf(container: Container): number {
  return parseInteger(quantityOf(container, UNITS) ?? 0) ?? 0;
}
