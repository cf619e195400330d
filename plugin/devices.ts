import { SHORT_NAME_LENGTH, shortName } from "../pool/device_name.ts";
import type { Inventory, PoolServer } from "../pool/inventory.ts";
import { UNITS_PER_GPU } from "../pool/units.ts";

/** The units of one GPU, each 1 % of it, as the kubelet is told of them. */
export interface GpuUnits {
  /** host:port. */
  readonly server: string;
  /** What the ids of its units begin with: 8 characters, the same after any restart. */
  readonly name: string;
  /** 1 to 100. */
  readonly count: number;
  readonly healthy: boolean;
}

/** What a node lists: one entry for each GPU, for 100,000 units are too many to make anew at each change. */
export interface UnitList {
  /** By name, in a stable order. */
  readonly gpus: ReadonlyMap<string, GpuUnits>;
  /** Units of the pool that are left out, for there are more than this node may list. */
  readonly unlisted: number;
}

/** As protobuf: tag and length of the device, of its id (11 characters), and of its health ("Unhealthy" at most). */
const BYTES_PER_UNIT = 2 + (2 + 11) + (2 + 9);

/**
 * The most units that one message may hold: the kubelet reads 4 MiB at most (google.golang.org/grpc's default), and ends the stream
 * on more. Whole GPUs.
 */
export const MOST_UNITS = Math.floor((4 * 1024 * 1024) / BYTES_PER_UNIT / UNITS_PER_GPU) * UNITS_PER_GPU;

/** Which part of the pool a node lists, where it is split over the nodes: the GPUs of one turn of `nodes`. */
export interface PoolPart {
  /** From 0. */
  readonly index: number;
  readonly nodes: number;
}

export interface UnitOptions {
  /** The most units that this node lists; {@link MOST_UNITS} if absent, and then servers that tell nothing have none. */
  readonly resourceNums?: number | undefined;
  /** The whole pool if absent. */
  readonly part?: PoolPart | undefined;
}

/**
 * The units that a node lists for a pool.
 *
 * A server that tells its GPUs has 100 units for each. Where none does, as with Bitfusion's own, they share `resourceNums` evenly, as if
 * each had so many GPUs: beside servers that tell, one that has not yet is only late. A unit is healthy while its server answers and its
 * GPU is healthy.
 */
export function unitsOf({ servers }: Inventory, { resourceNums, part }: UnitOptions = {}): UnitList {
  const total = servers.some(({ gpus }) => gpus) ? 0 : (resourceNums ?? 0);
  const most = Math.min(resourceNums ?? MOST_UNITS, MOST_UNITS);
  const gpus = new Map<string, GpuUnits>();
  let listed = 0;
  let unlisted = 0;
  for (const [position, server] of servers.entries()) {
    const all = [
      ...(server.gpus ? toldUnits(server) : silentUnits(server, { position, count: servers.length, total })),
    ];
    // Only the server's own place and GPUs count: nodes that have heard of different servers agree on whose a GPU is.
    const isOwn = (_: GpuUnits, index: number) => !part || (position + index) % part.nodes === part.index;
    for (const gpu of all.filter(isOwn)) {
      const count = Math.min(gpu.count, most - listed);
      if (count > 0) gpus.set(gpu.name, { ...gpu, count });
      listed += count;
      unlisted += gpu.count - count;
    }
  }
  return { gpus, unlisted };
}

function* toldUnits({ address: server, gpus = [], reachable }: PoolServer): Generator<GpuUnits> {
  for (const { id, healthy } of gpus) {
    yield { server, name: shortName(id), count: UNITS_PER_GPU, healthy: reachable && healthy };
  }
}

function* silentUnits(
  { address: server, reachable: healthy }: PoolServer,
  { position, count, total }: { position: number; count: number; total: number },
): Generator<GpuUnits> {
  const part = Math.floor(total / count) + (position < total % count ? 1 : 0);
  for (let gpu = 0; gpu * UNITS_PER_GPU < part; gpu++) {
    yield {
      server,
      name: shortName(`${server}#${gpu}`),
      count: Math.min(UNITS_PER_GPU, part - gpu * UNITS_PER_GPU),
      healthy,
    };
  }
}

/** The ids of a GPU's units: at most 63 characters each, as the kubelet wants, and the same after any restart. */
export function unitIds({ name, count }: GpuUnits): string[] {
  return Array.from({ length: count }, (_, unit) => `${name}-${String(unit).padStart(2, "0")}`);
}

/** The GPU that lists a unit of this id; undefined if none does. */
export function gpuOf(id: string, { gpus }: UnitList): GpuUnits | undefined {
  const gpu = gpus.get(id.slice(0, SHORT_NAME_LENGTH));
  const [, unit] = /^-(\d\d)$/.exec(id.slice(SHORT_NAME_LENGTH)) ?? [];
  return unit !== undefined && Number(unit) < (gpu?.count ?? 0) ? gpu : undefined;
}

/** Units in all, and the healthy ones. */
export function countUnits(gpus: Iterable<GpuUnits>): { units: number; healthy: number } {
  const counts = { units: 0, healthy: 0 };
  for (const { count, healthy } of gpus) {
    counts.units += count;
    if (healthy) counts.healthy += count;
  }
  return counts;
}
