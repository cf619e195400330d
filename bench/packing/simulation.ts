import { UNITS_PER_GPU } from "../../pool/units.ts";
import { allocate, type Gpu, type Order } from "./pool.ts";
import type { Request } from "./requests.ts";

export interface PackingResult {
  /** Part of the pool's units that pods hold, on average over time. */
  readonly heldUnits: number;
  /** The same for GPUs, and for servers, of which no pod holds a unit. */
  readonly freeGpus: number;
  readonly freeServers: number;
  /** Hours that pods waited, on average. */
  readonly wait: number;
  /** The same for pods that ask for as many GPUs as a server has. */
  readonly serverWait: number;
}

/** The part of the pods that only fill the pool before the measurement. */
const WARM_UP = 0.2;

/** Runs pods on a pool. A pod that does not fit waits, and is tried again whenever another one ends. */
export function simulate(
  requests: readonly Request[],
  { gpus, perServer, order }: { gpus: readonly Gpu[]; perServer: number; order: Order },
): PackingResult {
  const waiting: Request[] = [];
  const ends: { at: number; gpus: Gpu[]; units: number }[] = [];
  const sums = { heldUnits: 0, freeGpus: 0, freeServers: 0 };
  const waits: { request: Request; hours: number }[] = [];
  const since = requests[Math.floor(requests.length * WARM_UP)]?.at ?? 0;
  let now = 0;

  function advance(to: number): void {
    const hours = Math.max(0, to - Math.max(now, since));
    const usedServers = new Set<number>();
    for (const { held, server } of gpus) {
      sums.heldUnits += held * hours;
      if (held === 0) sums.freeGpus += hours;
      else usedServers.add(server);
    }
    sums.freeServers += (gpus.length / perServer - usedServers.size) * hours;
    now = to;
  }
  function start(request: Request): boolean {
    const chosen = allocate(order(gpus), request);
    if (!chosen) return false;
    for (const gpu of chosen) gpu.held += request.units;
    const end = { at: now + request.hours, gpus: chosen, units: request.units };
    ends.splice(positionOf(end.at), 0, end);
    if (request.at >= since) waits.push({ request, hours: now - request.at });
    return true;
  }
  function positionOf(at: number): number {
    let [low, high] = [0, ends.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((ends[middle]?.at ?? 0) <= at) low = middle + 1;
      else high = middle;
    }
    return low;
  }
  function finish(): void {
    const end = ends.shift();
    if (!end) return;
    advance(end.at);
    for (const gpu of end.gpus) gpu.held -= end.units;
    for (const request of waiting.splice(0)) if (!start(request)) waiting.push(request);
  }
  for (const request of requests) {
    while (ends[0] && ends[0].at <= request.at) finish();
    advance(request.at);
    if (!start(request)) waiting.push(request);
  }
  const mean = (list: typeof waits) => list.reduce((sum, { hours }) => sum + hours, 0) / (list.length || 1);
  const measured = now - since;
  return {
    heldUnits: sums.heldUnits / measured / (gpus.length * UNITS_PER_GPU),
    freeGpus: sums.freeGpus / measured,
    freeServers: sums.freeServers / measured,
    wait: mean(waits),
    serverWait: mean(waits.filter(({ request }) => request.gpus === perServer)),
  };
}
