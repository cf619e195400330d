import { Gauge, Registry } from "prom-client";

export interface PageMetrics {
  readonly registry: Registry;
}

export function createPageMetrics({ readers }: { readers: () => number }): PageMetrics {
  const registry = new Registry();
  new Gauge({
    name: "bitfusion_console_readers",
    help: "Browsers that have the page open.",
    registers: [registry],
    collect() {
      this.set(readers());
    },
  });
  return { registry };
}
