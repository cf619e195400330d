import { UNITS_PER_GPU } from "../../pool/units.ts";
import { createRandom } from "../common/random.ts";
import type { Gpu, Order } from "./pool.ts";
import { createRequests } from "./requests.ts";
import { simulate } from "./simulation.ts";

const SERVERS = 125;
const PER_SERVER = 8;
const PODS = 10_000;
/** Units that pods would hold if none had to wait, as a part of the pool. */
const LOADS = [0.5, 0.7, 0.85];

/** An order that stays as it is. */
function fixed(positionOf: (index: number) => number): Order {
  const positions = Array.from({ length: SERVERS * PER_SERVER }, (_, index) => positionOf(index));
  const indexes = [...positions.keys()].sort((a, b) => (positions[a] ?? 0) - (positions[b] ?? 0));
  return (gpus) => indexes.map((index) => gpus[index] as Gpu);
}

function byId(): Order {
  const random = createRandom(2);
  return fixed(() => random.below(2 ** 31));
}

/** The orders of devices in slices, and one that no slice can have: each allocation would change it. */
const ORDERS: Readonly<Record<string, Order>> = {
  "by server": (gpus) => [...gpus],
  "by id": byId(),
  "a GPU of each server in turn": fixed((index) => (index % PER_SERVER) * SERVERS + Math.floor(index / PER_SERVER)),
  "fullest first, at each allocation": (gpus) => [...gpus].sort((a, b) => b.held - a.held),
};

/** Measures how many whole GPUs stay free with each order in which the scheduler tries them. */
export async function benchPacking(): Promise<Record<string, string>[][]> {
  const total = SERVERS * PER_SERVER;
  const rows: Record<string, string>[] = [];
  for (const load of LOADS) {
    for (const [name, order] of Object.entries(ORDERS)) {
      const requests = createRequests(createRandom(1), { count: PODS, load: load * total * UNITS_PER_GPU });
      const gpus = Array.from(
        { length: total },
        (_, index): Gpu => ({ server: Math.floor(index / PER_SERVER), held: 0 }),
      );
      const result = simulate(requests, { gpus, perServer: PER_SERVER, order });
      rows.push({
        [`${total} GPUs, ${SERVERS} servers`]: name,
        load: `${load * 100} %`,
        "units held": `${(result.heldUnits * 100).toFixed(0)} %`,
        "whole GPUs free": result.freeGpus.toFixed(0),
        "of the free units": `${((result.freeGpus / (total * (1 - result.heldUnits))) * 100).toFixed(0)} %`,
        "whole servers free": result.freeServers.toFixed(1),
        "mean wait": `${(result.wait * 60).toFixed(1)} min`,
        "mean wait for 8 GPUs": `${(result.serverWait * 60).toFixed(1)} min`,
      });
    }
  }
  return [rows];
}
