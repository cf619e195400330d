import type { ResourceSlice } from "../../kubernetes/objects/resource_slice.ts";
import { keyOf } from "../../kubernetes/watch.ts";
import { deviceKey, splitDeviceKey } from "../../pool/claims/device_key.ts";
import { DRIVER, POOL_GPUS_ANNOTATION } from "../../pool/driver.ts";
import type { GpuSupply } from "../../pool/requests/supply.ts";
import { isInPool } from "../../pool/sources/published_pool.ts";
import { indexEvents, refusalsIn } from "./events.ts";
import { type PublishedDevice, publishedDevices, publishedGpu, unpublishedGpu } from "./gpus.ts";
import { indexPods } from "./pods.ts";
import { waitingPods } from "./queue.ts";
import { groupByServer, sumUnits } from "./servers.ts";
import { heldShares } from "./shares.ts";
import { byTexts } from "./text.ts";
import type { ClusterObjects, GpuView, HeldShare, PoolView } from "./types.ts";

/** The pool as people see it, from what the API server says. The result depends on the objects alone, and not on their order. */
export function viewPool({ slices, claims, lacksClaims = false, pods, events, taintRules }: ClusterObjects): PoolView {
  const problems: string[] = [];
  const isComplete = slices !== undefined && !lacksClaims;
  const sliceList = [...(slices ?? [])].sort(byTexts(({ metadata }) => metadata.name));
  const published = publishedDevices(sliceList, problems);
  const podIndex = indexPods(pods);
  const claimsByKey = new Map([...claims].map((claim) => [keyOf(claim), claim]));
  const eventList = [...(events ?? [])];
  const rules = [...(taintRules ?? [])].sort(byTexts(({ metadata }) => metadata.name));

  const holders = [...claimsByKey.values()].flatMap((claim) => heldShares(claim, { pods: podIndex, published }));
  holders.sort(byHolder);
  const byDevice = Map.groupBy(holders, ({ pool, device }) => deviceKey(pool, device));
  const publishedGpus = Array.from(published, ([key, each]) => publishedGpu(each, byDevice.get(key) ?? [], rules));
  const unpublishedGpus = [...byDevice].flatMap(([key, held]) => {
    const { pool, device } = splitDeviceKey(key);
    return published.has(key) ? [] : [unpublishedGpu(pool, device, held)];
  });
  const servers = groupByServer([...publishedGpus, ...unpublishedGpus]);

  if (slices) problems.push(...publicationProblems(sliceList, published));
  if (isComplete) problems.push(...gpuProblems([...publishedGpus, ...unpublishedGpus]));
  return {
    servers,
    holders,
    queue: waitingPods({
      claims: claimsByKey,
      pods: podIndex,
      events: indexEvents(eventList),
      supply: isComplete ? publishedGpus.map(toSupply) : undefined,
    }),
    refusals: refusalsIn(eventList),
    problems: problems.sort(),
    totals: {
      gpus: publishedGpus.length,
      servers: new Set(publishedGpus.map(({ server }) => server)).size,
      ...sumUnits(publishedGpus),
    },
  };
}

const byHolder = byTexts<HeldShare>(
  ({ namespace }) => namespace,
  ({ pod }) => pod,
  ({ gpu }) => gpu,
  ({ id }) => id,
);

function toSupply({ attributes, freeUnits, heldUnits, taints }: GpuView): GpuSupply {
  return { attributes, isTainted: taints.some(({ effect }) => effect !== "None"), held: heldUnits, free: freeUnits };
}

/** What is missing among the published GPUs. */
function publicationProblems(
  slices: readonly ResourceSlice[],
  published: ReadonlyMap<string, PublishedDevice>,
): string[] {
  if (published.size === 0) return ["No GPU is published: no pool server has reported one, or nodes count the units."];
  const told = slices.flatMap(({ spec, metadata }) =>
    spec.driver === DRIVER ? (metadata.annotations?.[POOL_GPUS_ANNOTATION] ?? []) : [],
  );
  if (told.length === 0) return ["A configured pool server has not reported its GPUs yet."];
  const count = [...published.values()].filter(({ device }) => isInPool(device)).length;
  if (told.every((text) => Number(text) === count)) return [];
  return [
    `The slices have ${count} GPUs of the pool: expected ${[...new Set(told)].join(" or ")}, as the controller says.`,
  ];
}

function gpuProblems(gpus: readonly GpuView[]): string[] {
  return gpus.flatMap(({ id, state, totalUnits, heldUnits }) => {
    if (state === "unpublished") return [`Claims hold ${heldUnits} units of GPU ${id}, which no ResourceSlice has.`];
    return heldUnits > totalUnits ? [`Claims hold ${heldUnits} units of GPU ${id}, which has ${totalUnits}.`] : [];
  });
}
