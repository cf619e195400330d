import { collectDefaultMetrics, type Registry } from "prom-client";

/**
 * How often the delay of the event loop is sampled, in ms. Each sample wakes the program: with the 10 ms that are the default of prom-client,
 * a program at rest uses 0.7 % of a core for nothing else.
 */
const EVENT_LOOP_PRECISION = 100;

/** Adds the metrics of the process itself, such as its memory and the delay of its event loop. */
export function collectProcessMetrics(register: Registry): void {
  collectDefaultMetrics({ register, eventLoopMonitoringPrecision: EVENT_LOOP_PRECISION });
}
