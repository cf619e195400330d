import { parseQuantity, toInteger } from "../../kubernetes/objects/quantity.ts";
import { attributesOf } from "../../pool/attributes.ts";
import { formatFilter, matchesFilter, parseFilter, splitFilters } from "../../pool/filter.ts";
import { type Inventory, totalUnits } from "../../pool/inventory.ts";
import { describeShare } from "../../pool/share.ts";
import { unitsPerGpu } from "../../pool/units.ts";
import { claimNameOf, shareOfTemplate } from "../claims/claim.ts";
import { ANNOTATIONS, UNITS } from "../pod/keys.ts";
import { type Container, type Pod, quantityOf } from "../pod/pod.ts";
import { Refusal } from "../pod/refusal.ts";

/** Refuses what the whole pool could never hold: it would wait for ever. Nothing, while a server has not told what it has. */
export function checkCapacity(pod: Pod, users: readonly Container[], pool: Inventory | undefined): void {
  const poolUnits = pool && totalUnits(pool);
  if (!pool || poolUnits === undefined) return;
  const needed = unitsOfPod(pod);
  if (needed > poolUnits) {
    throw new Refusal(
      "capacity",
      `The pod asks for ${needed} units of ${UNITS}, but the whole pool has ${poolUnits}: it would wait for ever`,
    );
  }
  for (const container of users) checkShare(pod, container, pool);
}

/** Refuses what servers could give that the scheduler never hears of: Bitfusion's own tell no inventory. */
export function checkInventory(pool: Inventory | undefined): void {
  const silent = pool?.servers.filter(({ reachable, gpus }) => reachable && !gpus) ?? [];
  if (silent.length === 0 || silent.length < (pool?.servers.length ?? 0)) return;
  const addresses = silent.map(({ address }) => address).join(", ");
  throw new Refusal(
    "capacity",
    `The pool's servers (${addresses}) tell no GPUs for the scheduler to share: expected ALLOCATION=units of the webhook`,
  );
}

/** The share itself is in the name of the claim's template: the units say only what it comes to. */
function checkShare({ metadata, spec }: Pod, { name }: Container, pool: Inventory): void {
  const claim = spec.resourceClaims?.find((own) => own.name === claimNameOf(name));
  const share = shareOfTemplate(claim?.resourceClaimTemplateName ?? "");
  if (!share) return;
  const filters = splitFilters(metadata.annotations?.[ANNOTATIONS.filter]).flatMap((text) => parseFilter(text) ?? []);
  const able = pool.servers.flatMap((server) =>
    (server.gpus ?? []).filter(
      (gpu) =>
        unitsPerGpu(share, gpu.memoryMb) <= 100 &&
        filters.every((filter) => matchesFilter(filter, attributesOf(server, gpu))),
    ),
  );
  if (able.length >= share.gpus) return;
  const wanted = filters.length > 0 ? ` that match ${filters.map(formatFilter).join(" and ")}` : "";
  throw new Refusal(
    "capacity",
    `Container "${name}": asks for ${describeShare(share)}${wanted}, but the whole pool has ${able.length} that can give it (${describePool(pool)}): it would wait for ever`,
  );
}

function describePool({ servers }: Inventory): string {
  const kinds = Map.groupBy(
    servers.flatMap(({ gpus = [] }) => gpus),
    ({ model, memoryMb }) => `${model} of ${memoryMb} MB`,
  );
  return [...kinds].map(([kind, gpus]) => `${gpus.length} × ${kind}`).join(", ") || "no GPUs";
}

/** What the scheduler counts: app containers and sidecars together, or an init container beside the sidecars before it (KEP-753). */
function unitsOfPod({ spec }: Pod): number {
  let sidecars = 0;
  let most = 0;
  for (const container of spec.initContainers ?? []) {
    const units = unitsOf(container);
    if (container.restartPolicy === "Always") sidecars += units;
    else most = Math.max(most, sidecars + units);
  }
  return Math.max(
    most,
    spec.containers.reduce((total, container) => total + unitsOf(container), sidecars),
  );
}

function unitsOf(container: Container): number {
  return toInteger(parseQuantity(quantityOf(container, UNITS) ?? 0)) ?? 0;
}
