import { Counter, Gauge, Histogram, type Registry } from "prom-client";
import { createRoundTrips, type RoundTrips } from "./round_trips.ts";
import { countUnits, type UnitList } from "./units/devices.ts";
import type { HeldUnits } from "./units/held_units.ts";

/** The metrics that the device plugin sets. */
export interface PluginMetrics {
  readonly registrations: Counter<"result">;
  readonly listUpdates: Counter;
  /** In seconds. */
  readonly allocations: Histogram<"result">;
  readonly roundTrips: RoundTrips;
}

export interface PluginMetricsOptions {
  registry: Registry;
  units: () => UnitList | undefined;
  /** The units that pods hold. Undefined if the kubelet does not answer. Called at each scrape. */
  heldUnits: () => Promise<readonly HeldUnits[] | undefined>;
}

const PREFIX = "bitfusion_device_plugin";

export function createPluginMetrics({ registry, units, heldUnits }: PluginMetricsOptions): PluginMetrics {
  const registers = [registry];
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
    help: "Units of the pool that are not listed, because RESOURCE_NUMS or the size of a message to the kubelet is exceeded.",
    registers,
    collect() {
      this.set(units()?.unlisted ?? 0);
    },
  });
  new Gauge({
    name: `${PREFIX}_held_units`,
    help: "Units held by containers, as the kubelet's PodResourcesLister reports.",
    labelNames: ["namespace", "pod", "container"],
    registers,
    async collect() {
      const held = await heldUnits();
      this.reset();
      for (const { namespace, pod, container, units } of held ?? []) this.set({ namespace, pod, container }, units);
    },
  });
  return {
    registrations: new Counter({
      name: `${PREFIX}_registrations_total`,
      help: "Registrations of the device plugin with the kubelet by result.",
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
      help: "Duration of Allocate calls by result.",
      labelNames: ["result"],
      buckets: [0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 1],
      registers,
    }),
    roundTrips: createRoundTrips(registry),
  };
}
