import { SHORT_NAME_LENGTH, shortName } from "../../pool/device_name.ts";
import type { Inventory, PoolServer } from "../../pool/inventory.ts";
import { UNITS_PER_GPU } from "../../pool/units.ts";

/** The units of one GPU, as the plugin lists them to the kubelet. */
export interface GpuUnits {
  /** host:port. */
  readonly server: string;
  /** The first 8 characters of the ids of the units. Stable across restarts. */
  readonly name: string;
  /** 1 to 100. */
  readonly count: number;
  readonly healthy: boolean;
}

/** The list of a node, with one entry per GPU: 100,000 entries, one per unit, would be too slow to create at each change. */
export interface UnitList {
  /** By name, in a stable order. */
  readonly gpus: ReadonlyMap<string, GpuUnits>;
  /** Units of the pool that are left out because the node may not list more. */
  readonly unlisted: number;
}

/** Bytes of a device in protobuf: tags and lengths of the device, of its id (11 characters) and of its health (up to "Unhealthy"). */
const BYTES_PER_UNIT = 2 + (2 + 11) + (2 + 9);

/**
 * The most units that one message can hold, in whole GPUs. The kubelet receives at most 4 MiB (the default of google.golang.org/grpc),
 * and ends the stream at a larger message.
 */
export const MAX_UNITS = Math.floor((4 * 1024 * 1024) / BYTES_PER_UNIT / UNITS_PER_GPU) * UNITS_PER_GPU;

/** The part of the pool that a node lists, if the pool is split over nodes: every GPU number `index` of `nodes`. */
export interface PoolPart {
  /** From 0. */
  readonly index: number;
  readonly nodes: number;
}

export interface UnitOptions {
  /** The most units that this node lists. Undefined: {@link MAX_UNITS}, and servers that report no GPUs have no units. */
  readonly resourceNums?: number | undefined;
  /** Undefined: the whole pool. */
  readonly part?: PoolPart | undefined;
}

/**
 * The units that a node lists for a pool. A server that reports its GPUs has 100 units per GPU. If no server reports any, the foreign
 * ones (Bitfusion's own) have their even parts of `resourceNums`. A server that has not answered yet has no units. A unit is healthy while
 * its server is reachable and its GPU is healthy.
 */
export function listUnits({ servers }: Inventory, { resourceNums, part }: UnitOptions = {}): UnitList {
  const total = servers.some(({ gpus }) => gpus) ? 0 : (resourceNums ?? 0);
  const maximum = Math.min(resourceNums ?? MAX_UNITS, MAX_UNITS);
  const gpus = new Map<string, GpuUnits>();
  let listed = 0;
  let unlisted = 0;
  for (const [position, server] of servers.entries()) {
    const all = [
      ...(server.gpus ? reportedUnits(server) : assumedUnits(server, { position, count: servers.length, total })),
    ];
    // Depends on the position and GPUs of this server only: nodes that know different servers agree on who lists a GPU.
    const isOwn = (_: GpuUnits, index: number) => !part || (position + index) % part.nodes === part.index;
    for (const gpu of all.filter(isOwn)) {
      const count = Math.min(gpu.count, maximum - listed);
      if (count > 0) gpus.set(gpu.name, { ...gpu, count });
      listed += count;
      unlisted += gpu.count - count;
    }
  }
  return { gpus, unlisted };
}

function* reportedUnits({ address: server, gpus = [], reachable }: PoolServer): Generator<GpuUnits> {
  for (const { id, healthy } of gpus) {
    yield { server, name: shortName(id), count: UNITS_PER_GPU, healthy: reachable && healthy };
  }
}

/** The units of a server that reports no GPUs: if it is foreign, its even part of `total`, as if it had GPUs of 100 units. */
function* assumedUnits(
  { address: server, reachable: healthy, foreign }: PoolServer,
  { position, count, total }: { position: number; count: number; total: number },
): Generator<GpuUnits> {
  if (!foreign) return;
  const units = Math.floor(total / count) + (position < total % count ? 1 : 0);
  for (let gpu = 0; gpu * UNITS_PER_GPU < units; gpu++) {
    const name = shortName(`${server}#${gpu}`);
    yield { server, name, count: Math.min(UNITS_PER_GPU, units - gpu * UNITS_PER_GPU), healthy };
  }
}

/** The ids of a GPU's units. The kubelet accepts at most 63 characters. Stable across restarts. */
export function unitIds({ name, count }: GpuUnits): string[] {
  return Array.from({ length: count }, (_, unit) => `${name}-${String(unit).padStart(2, "0")}`);
}

/** The GPU that a unit belongs to. Undefined if the list has no unit with this id. */
export function gpuOf(id: string, { gpus }: UnitList): GpuUnits | undefined {
  const gpu = gpus.get(id.slice(0, SHORT_NAME_LENGTH));
  const [, unit] = /^-(\d\d)$/.exec(id.slice(SHORT_NAME_LENGTH)) ?? [];
  return unit !== undefined && Number(unit) < (gpu?.count ?? 0) ? gpu : undefined;
}

/** The number of all units, and of the healthy ones. */
export function countUnits(gpus: Iterable<GpuUnits>): { units: number; healthy: number } {
  const counts = { units: 0, healthy: 0 };
  for (const { count, healthy } of gpus) {
    counts.units += count;
    if (healthy) counts.healthy += count;
  }
  return counts;
}
