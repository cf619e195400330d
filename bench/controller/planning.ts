import { createSlicePlanner, type Plan } from "../../controller/slices/plan.ts";
import { toResourceSlice } from "../../controller/slices/slice.ts";
import type { ResourceSlice } from "../../kubernetes/objects/resource_slice.ts";
import type { Inventory, PoolServer } from "../../pool/inventory.ts";
import { median } from "../common/statistics.ts";

const GPUS = 10_000;
const GPUS_PER_SERVER = 8;
const RUNS = 50;

/** Measures the time of one plan of ResourceSlices for 10,000 GPUs on 1,250 servers. */
export function benchPlanning(): Record<string, string>[] {
  const planSlices = createSlicePlanner();
  const servers = Array.from({ length: GPUS / GPUS_PER_SERVER }, (_, index) => createServer(index));
  const plan = (list: readonly PoolServer[], slices: readonly ResourceSlice[]): Plan =>
    planSlices({ inventory: { servers: list } satisfies Inventory, slices, held: new Map() }, { now: 0 });
  const [slices, first] = timed(() => plan(servers, []).creations.map((desired) => toResourceSlice(desired)));
  const unchanged: number[] = [];
  const changed: number[] = [];
  plan(servers, slices);
  for (let run = 0; run < RUNS; run++) {
    unchanged.push(timed(() => plan(servers, slices))[1]);
    const [unhealthy] = servers as [PoolServer];
    const list = servers.with(0, {
      ...unhealthy,
      gpus: (unhealthy.gpus ?? []).map((gpu) => ({ ...gpu, healthy: false })),
    });
    changed.push(timed(() => plan(list, slices))[1]);
  }
  const row = (what: string, time: number) => ({ "plan of 10,000 GPUs": what, time: `${time.toFixed(1)} ms` });
  return [
    row("nothing published yet", first),
    row("no change, median", median(unchanged)),
    row("no change, maximum", Math.max(...unchanged)),
    row("one server changed, median", median(changed)),
    row("one server changed, maximum", Math.max(...changed)),
  ];
}

function timed<T>(run: () => T): [result: T, time: number] {
  const start = performance.now();
  const result = run();
  return [result, performance.now() - start];
}

function createServer(server: number): PoolServer {
  const gpus = Array.from({ length: GPUS_PER_SERVER }, (_, index) => ({
    id: `GPU-fef8089b-4820-abfc-e83e-${server}-${index}`,
    model: "Tesla T4",
    memoryMb: 16_000,
    healthy: true,
  }));
  const facts = { hostname: `server-${server}`, hasRdma: false, cudaVersion: "12.4", driverVersion: "550.54.15" };
  return { address: `server-${server}:56001`, reachable: true, gpus, facts };
}
