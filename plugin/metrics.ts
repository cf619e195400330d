import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";
import { countUnits, type UnitList } from "./devices.ts";
import type { HeldUnits } from "./held_units.ts";

/** What is measured, and the registry that tells it. */
export interface PluginMetrics {
  readonly registry: Registry;
  readonly registrations: Counter<"result">;
  readonly listUpdates: Counter;
  /** Time of each Allocate in seconds. */
  readonly allocations: Histogram<"result">;
  /** Time in seconds until a pool server accepts a connection: one round trip. */
  readonly roundTrips: Histogram<"server">;
}

export interface PluginMetricsOptions {
  units: () => UnitList | undefined;
  /** What pods hold now; undefined if the kubelet does not tell. Asked at each scrape. */
  heldUnits: () => Promise<readonly HeldUnits[] | undefined>;
}

const PREFIX = "bitfusion_device_plugin";

export function createPluginMetrics({ units, heldUnits }: PluginMetricsOptions): PluginMetrics {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  new Gauge({
    name: `${PREFIX}_units`,
    help: "Units listed to the kubelet by pool server and health.",
    labelNames: ["server", "health"],
    registers,
    collect() {
      this.reset();
      for (const [server, gpus] of Map.groupBy(units()?.gpus.values() ?? [], (gpu) => gpu.server)) {
        const { units: all, healthy } = countUnits(gpus);
        this.set({ server, health: "healthy" }, healthy);
        this.set({ server, health: "unhealthy" }, all - healthy);
      }
    },
  });
  new Gauge({
    name: `${PREFIX}_unlisted_units`,
    help: "Units of the pool that are not listed: more than RESOURCE_NUMS, or than the kubelet can read in one message.",
    registers,
    collect() {
      this.set(units()?.unlisted ?? 0);
    },
  });
  new Gauge({
    name: `${PREFIX}_held_units`,
    help: "Units held by containers, as the kubelet's PodResourcesLister says.",
    labelNames: ["namespace", "pod", "container"],
    registers,
    async collect() {
      const held = await heldUnits();
      this.reset();
      for (const { namespace, pod, container, units } of held ?? []) this.set({ namespace, pod, container }, units);
    },
  });
  return {
    registry,
    registrations: new Counter({
      name: `${PREFIX}_registrations_total`,
      help: "Registrations with the kubelet by result.",
      labelNames: ["result"],
      registers,
    }),
    listUpdates: new Counter({
      name: `${PREFIX}_list_updates_total`,
      help: "Lists of units sent to the kubelet.",
      registers,
    }),
    allocations: new Histogram({
      name: `${PREFIX}_allocation_duration_seconds`,
      help: "Time of each Allocate call by result.",
      labelNames: ["result"],
      buckets: [0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 1],
      registers,
    }),
    roundTrips: new Histogram({
      name: "bitfusion_pool_round_trip_seconds",
      help: "Time until a pool server accepts a connection from this node: one round trip of the network.",
      labelNames: ["server"],
      buckets: [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1],
      registers,
    }),
  };
}
