import { Counter, Gauge, Histogram, type Registry } from "prom-client";

/** The metrics that the driver sets. */
export interface DriverMetrics {
  readonly registrations: Counter<"result">;
  /** In seconds. */
  readonly claims: Histogram<"call" | "result">;
}

export interface DriverMetricsOptions {
  registry: Registry;
  /** Number of prepared claims. Called at each scrape. */
  preparedClaims: () => Promise<number>;
}

const PREFIX = "bitfusion_driver";

export function createDriverMetrics({ registry, preparedClaims }: DriverMetricsOptions): DriverMetrics {
  const registers = [registry];
  new Gauge({
    name: `${PREFIX}_prepared_claims`,
    help: "Claims that are prepared on this node.",
    registers,
    async collect() {
      this.set(await preparedClaims());
    },
  });
  return {
    registrations: new Counter({
      name: `${PREFIX}_registrations_total`,
      help: "Registrations of the driver with the kubelet by result.",
      labelNames: ["result"],
      registers,
    }),
    claims: new Histogram({
      name: `${PREFIX}_claim_duration_seconds`,
      help: "Time to prepare or unprepare a claim, by call and result.",
      labelNames: ["call", "result"],
      buckets: [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10],
      registers,
    }),
  };
}
