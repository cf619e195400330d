import { isDeepStrictEqual } from "node:util";
import { collectDefaultMetrics, Gauge, Registry } from "prom-client";
import { createServerSource } from "../pool/server_source.ts";
import { createServersSource } from "../pool/servers_source.ts";
import { staticSource } from "../pool/static_source.ts";
import { createLatest } from "../program/latest.ts";
import { serveProbes } from "../program/probes.ts";
import { runProgram } from "../program/run.ts";
import { type Unit, unitsOf } from "./devices.ts";
import { runLifecycle } from "./lifecycle.ts";
import { countUnits } from "./service.ts";
import { readSettings } from "./settings.ts";

/** The device plugin: tells the kubelet of its node how many units the pool holds, and which are healthy. */
await runProgram("device-plugin", async ({ environment, log, signal }) => {
  const settings = await readSettings(environment);
  const { interval, resourceNums, servers } = settings;
  const source =
    servers.length > 0 ? createServersSource(servers, createServerSource({ interval, log })) : staticSource;

  const units = createLatest<readonly Unit[]>();
  let registered = false;
  const metrics = new Registry();
  collectDefaultMetrics({ register: metrics });
  new Gauge({
    name: "bitfusion_device_plugin_units",
    help: "Units listed to the kubelet.",
    labelNames: ["health"],
    registers: [metrics],
    collect() {
      const { units: all, healthy } = countUnits(units.current ?? []);
      this.set({ health: "healthy" }, healthy);
      this.set({ health: "unhealthy" }, all - healthy);
    },
  });
  await using probes = serveProbes({
    port: settings.metricsPort,
    notReady: () => (registered ? undefined : "Not registered with the kubelet"),
    metrics,
  });
  log.info("Started", { servers, resourceName: settings.resourceName, metricsPort: probes.port });

  // The first part that ends ends the other.
  const over = new AbortController();
  const untilOver = AbortSignal.any([signal, over.signal]);
  const follow = async () => {
    for await (const inventory of source(untilOver)) {
      const list = unitsOf(inventory, resourceNums);
      if (isDeepStrictEqual(list, units.current)) continue;
      if (list.length === 0) log.warn("The pool has no units", { servers, resourceNums });
      units.set(list);
    }
  };
  const lifecycle = runLifecycle({
    directory: settings.kubeletDirectory,
    socketName: settings.socketName,
    resourceName: settings.resourceName,
    units,
    log,
    onRegistered: (value) => {
      registered = value;
    },
    signal: untilOver,
  });
  await Promise.all([follow(), lifecycle].map((part) => part.finally(() => over.abort())));
});
