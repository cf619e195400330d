import { Counter, Gauge, Histogram, Registry } from "prom-client";
import { collectProcessMetrics } from "../../program/process_metrics.ts";

/** The metrics that the webhook sets, and their registry. */
export interface WebhookMetrics {
  readonly registry: Registry;
  /** Duration of each review, in seconds. */
  readonly reviews: Histogram<"webhook" | "result" | "reason">;
  /** When the certificate that is served expires, in seconds since the epoch. */
  readonly certificateExpiry: Gauge;
  readonly catalogueReloads: Counter<"result">;
  readonly tokenCopies: Counter<"operation">;
}

export interface WebhookMetricsOptions {
  /** Units of the complete pool. Undefined while unknown. */
  poolUnits: () => number | undefined;
}

export function createMetrics({ poolUnits }: WebhookMetricsOptions): WebhookMetrics {
  const registry = new Registry();
  const registers = [registry];
  collectProcessMetrics(registry);
  new Gauge({
    name: "bitfusion_webhook_pool_units",
    help: "Units of the complete pool, NaN while unknown.",
    registers,
    collect() {
      this.set(poolUnits() ?? Number.NaN);
    },
  });
  return {
    registry,
    reviews: new Histogram({
      name: "bitfusion_webhook_review_duration_seconds",
      help: "Duration of admission reviews by webhook, result and reason.",
      labelNames: ["webhook", "result", "reason"],
      buckets: [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5],
      registers,
    }),
    certificateExpiry: new Gauge({
      name: "bitfusion_webhook_certificate_expiry_timestamp_seconds",
      help: "When the certificate that is served expires, in seconds since the epoch. 0 while there is none.",
      registers,
    }),
    catalogueReloads: new Counter({
      name: "bitfusion_webhook_catalogue_reloads_total",
      help: "Changes of the client catalogue by result. After a refused change the last valid catalogue stays in use.",
      labelNames: ["result"],
      registers,
    }),
    tokenCopies: new Counter({
      name: "bitfusion_webhook_token_copies_total",
      help: "Writes of the pool's token to namespaces by operation.",
      labelNames: ["operation"],
      registers,
    }),
  };
}
