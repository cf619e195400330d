import { createHash } from "node:crypto";
import type { Inventory, PoolServer } from "../pool/inventory.ts";

/** One unit, 1 % of one GPU, as the kubelet is told of it. */
export interface Unit {
  /** At most 63 characters; says which GPU and which hundredth of it. The same after any restart. */
  readonly id: string;
  readonly healthy: boolean;
}

/** Units of one GPU. */
const UNITS = 100;

/**
 * The units that a node lists for a pool, in a stable order, no id twice.
 *
 * A server that tells its GPUs has 100 units for each. Those that tell nothing share `resourceNums` evenly, as if each had so
 * many GPUs. A unit is healthy while its server answers and its GPU is healthy.
 *
 * @param resourceNums the most units that this node lists; no limit if absent, and then servers that tell nothing have none.
 */
export function unitsOf({ servers }: Inventory, resourceNums?: number): Unit[] {
  const silent = servers.filter(({ gpus }) => gpus === undefined);
  const units = new Map<string, Unit>();
  for (const server of servers) {
    for (const unit of server.gpus ? toldUnits(server) : silentUnits(server, silent, resourceNums ?? 0)) {
      if (units.size === resourceNums) return [...units.values()];
      if (!units.has(unit.id)) units.set(unit.id, unit);
    }
  }
  return [...units.values()];
}

function* toldUnits({ gpus = [], reachable }: PoolServer): Generator<Unit> {
  for (const gpu of gpus) yield* gpuUnits(gpu.id, UNITS, reachable && gpu.healthy);
}

function* silentUnits(server: PoolServer, silent: readonly PoolServer[], total: number): Generator<Unit> {
  const position = silent.indexOf(server);
  const part = Math.floor(total / silent.length) + (position < total % silent.length ? 1 : 0);
  for (let gpu = 0; gpu * UNITS < part; gpu++) {
    yield* gpuUnits(`${server.address}#${gpu}`, Math.min(UNITS, part - gpu * UNITS), server.reachable);
  }
}

function* gpuUnits(gpuId: string, count: number, healthy: boolean): Generator<Unit> {
  const prefix = shortName(gpuId);
  for (let unit = 0; unit < count; unit++) yield { id: `${prefix}-${String(unit).padStart(2, "0")}`, healthy };
}

/** 8 characters of base 36: short enough for 100,000 ids in one message, long enough not to collide among 10,000 GPUs. */
function shortName(gpuId: string): string {
  const hash = createHash("sha256").update(gpuId).digest().readBigUInt64BE();
  return hash.toString(36).padStart(13, "0").slice(-8);
}
