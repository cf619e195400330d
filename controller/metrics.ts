import { Counter, collectDefaultMetrics, Gauge, Registry } from "prom-client";
import { heldUnits, waitingRequest } from "./claims/claims.ts";
import { attributesOfDevice, UNITS } from "./slices/device.ts";
import { publishedGpus } from "./slices/gpus.ts";
import type { State } from "./state.ts";

/** What is measured, and the registry that tells it. */
export interface ControllerMetrics {
  readonly registry: Registry;
  readonly writes: Counter<"operation">;
  readonly leading: Gauge;
}

const PREFIX = "bitfusion_controller";

/** @param state what is known now; nothing while another controller leads. */
export function createControllerMetrics(state: () => State): ControllerMetrics {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  new Gauge({
    name: `${PREFIX}_units`,
    help: "Units of the published GPUs by pool server and state: held by claims, free, or tainted (neither).",
    labelNames: ["server", "state"],
    registers,
    collect() {
      this.reset();
      const { slices, claims } = state();
      if (!slices || !claims) return;
      for (const { device, held, free } of publishedGpus(slices.values(), heldUnits(claims.values()))) {
        const { server = "" } = attributesOfDevice(device);
        this.inc({ server, state: "held" }, held);
        this.inc({ server, state: "free" }, free);
        this.inc({ server, state: "tainted" }, Math.max(0, UNITS - held - free));
      }
    },
  });
  new Gauge({
    name: `${PREFIX}_waiting_claims`,
    help: "Claims that wait for units of the pool.",
    registers,
    collect() {
      this.set([...(state().claims?.values() ?? [])].filter(waitingRequest).length);
    },
  });
  return {
    registry,
    writes: new Counter({
      name: `${PREFIX}_slice_writes_total`,
      help: "Writes of ResourceSlices by operation.",
      labelNames: ["operation"],
      registers,
    }),
    leading: new Gauge({
      name: `${PREFIX}_leading`,
      help: "1 while this controller holds the Lease.",
      registers,
    }),
  };
}
