import { parseInteger } from "../../kubernetes/objects/quantity.ts";
import { attributesOf } from "../../pool/attributes.ts";
import { formatFilter, matchesFilter, parseFilter, splitFilters } from "../../pool/filter.ts";
import { type Inventory, totalUnits } from "../../pool/inventory.ts";
import { describeShare } from "../../pool/share.ts";
import { UNITS_PER_GPU, unitsPerGpu } from "../../pool/units.ts";
import { claimNameOf, shareOfTemplate } from "../claims/claim.ts";
import { ANNOTATIONS, UNITS } from "../pod/keys.ts";
import { type Container, type Pod, quantityOf } from "../pod/pod.ts";
import { Refusal } from "../pod/refusal.ts";

/**
 * Refuses a pod that the whole pool could never hold: it would wait forever. While a server has not reported its GPUs, nothing is
 * refused.
 *
 * @throws {Refusal}
 */
export function checkCapacity(pod: Pod, gpuContainers: readonly Container[], pool: Inventory | undefined): void {
  const poolUnits = pool && totalUnits(pool);
  if (!pool || poolUnits === undefined) return;
  const needed = unitsOfPod(pod);
  if (needed > poolUnits) {
    throw new Refusal(
      "capacity",
      `The pod requests ${needed} units of ${UNITS}, but the whole pool has ${poolUnits}: it would wait forever`,
    );
  }
  for (const container of gpuContainers) checkShare(pod, container, pool);
}

/**
 * Refuses pods with claims if no server reports its GPUs, as with Bitfusion's own servers: the scheduler does not know them.
 *
 * @throws {Refusal}
 */
export function checkInventory(pool: Inventory | undefined): void {
  const foreign = pool?.servers.filter((server) => server.foreign) ?? [];
  if (foreign.length === 0 || foreign.length < (pool?.servers.length ?? 0)) return;
  const addresses = foreign.map(({ address }) => address).join(", ");
  throw new Refusal(
    "capacity",
    `The pool's servers (${addresses}) do not report GPUs that the scheduler could share: set ALLOCATION=units for the webhook`,
  );
}

/**
 * Refuses a share that the pool could never give. The share is in the name of the claim template: the container's units
 * are only its total.
 */
function checkShare({ metadata, spec }: Pod, { name }: Container, pool: Inventory): void {
  const claim = spec.resourceClaims?.find((each) => each.name === claimNameOf(name));
  const share = shareOfTemplate(claim?.resourceClaimTemplateName ?? "");
  if (!share) return;
  const filters = splitFilters(metadata.annotations?.[ANNOTATIONS.filter]).flatMap((text) => parseFilter(text) ?? []);
  const suitable = pool.servers.flatMap((server) =>
    (server.gpus ?? []).filter(
      (gpu) =>
        unitsPerGpu(share, gpu.memoryMb) <= UNITS_PER_GPU &&
        filters.every((filter) => matchesFilter(filter, attributesOf(server, gpu))),
    ),
  );
  if (suitable.length >= share.gpus) return;
  const matching = filters.length > 0 ? ` that match ${filters.map(formatFilter).join(" and ")}` : "";
  throw new Refusal(
    "capacity",
    `Container "${name}" requests ${describeShare(share)}${matching}, but the whole pool has ${suitable.length} that can give it (${describePool(pool)}): it would wait forever`,
  );
}

function describePool({ servers }: Inventory): string {
  const kinds = Map.groupBy(
    servers.flatMap(({ gpus = [] }) => gpus),
    ({ model, memoryMb }) => `${model} of ${memoryMb} MB`,
  );
  return [...kinds].map(([kind, gpus]) => `${gpus.length} × ${kind}`).join(", ") || "no GPUs";
}

/**
 * The units that the scheduler counts for a pod: the maximum of its app containers and sidecars together, and of each init container
 * with the sidecars that started before it (KEP-753).
 */
function unitsOfPod({ spec }: Pod): number {
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
