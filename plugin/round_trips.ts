import { Histogram, type Registry } from "prom-client";

/** Round trips to pool servers, in seconds. */
export type RoundTrips = Histogram<"server">;

/** Creates the metric. The device plugin measures all servers of the pool; with claims, the driver measures those of its leases. */
export function createRoundTrips(registry: Registry): RoundTrips {
  return new Histogram({
    name: "bitfusion_pool_round_trip_seconds",
    help: "Time until a pool server accepts a TCP connection from this node: one network round trip. With claims, of the servers of the node's leases.",
    labelNames: ["server"],
    buckets: [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1],
    registers: [registry],
  });
}
