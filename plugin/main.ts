import { isDeepStrictEqual } from "node:util";
import type { InventorySource } from "../pool/inventory.ts";
import { createServerSource, type ServerSourceOptions } from "../pool/server_source.ts";
import { readServersConf } from "../pool/servers_conf.ts";
import { createServersSource } from "../pool/servers_source.ts";
import { staticSource } from "../pool/static_source.ts";
import { follow } from "../program/follow.ts";
import { createLatest } from "../program/latest.ts";
import { type Logger, messageOf } from "../program/log.ts";
import { serveProbes } from "../program/probes.ts";
import { runProgram } from "../program/run.ts";
import { type UnitList, unitsOf } from "./devices.ts";
import { readHeldUnits } from "./held_units.ts";
import { runLifecycle } from "./lifecycle.ts";
import { createPluginMetrics } from "./metrics.ts";
import { type PluginSettings, readSettings } from "./settings.ts";

/** The device plugin: tells the kubelet of its node how many units the pool holds, and which are healthy. */
await runProgram("device-plugin", async ({ environment, log, signal }) => {
  const settings = readSettings(environment);
  const { resourceName, resourceNums, interval, servers } = settings;
  const units = createLatest<UnitList>();
  let registered = false;
  const metrics = createPluginMetrics({ units: () => units.current, heldUnits: createHeldUnits(settings, log) });
  const source = inventorySource(settings, {
    interval,
    log,
    onRoundTrip: (server, time) => metrics.roundTrips.observe({ server }, time / 1000),
  });
  await using probes = serveProbes({
    port: settings.metricsPort,
    notReady: () => (registered ? undefined : "Not registered with the kubelet"),
    metrics: metrics.registry,
  });
  log.info("Started", { servers, resourceName, metricsPort: probes.port });

  // The first part that ends ends the other.
  const over = new AbortController();
  const untilOver = AbortSignal.any([signal, over.signal]);
  const followPool = async () => {
    for await (const inventory of source(untilOver)) {
      const list = unitsOf(inventory, resourceNums);
      if (isDeepStrictEqual(list, units.current)) continue;
      if (list.gpus.size === 0) log.warn("The pool has no units", { servers, resourceNums });
      if (list.unlisted > 0) log.warn("The pool has more units than are listed", { unlisted: list.unlisted });
      units.set(list);
    }
  };
  const lifecycle = runLifecycle({
    directory: settings.kubeletDirectory,
    socketName: settings.socketName,
    resourceName,
    units,
    log,
    metrics,
    onRegistered: (value) => {
      registered = value;
    },
    signal: untilOver,
  });
  await Promise.all([followPool(), lifecycle].map((part) => part.finally(() => over.abort())));
});

function inventorySource({ servers }: PluginSettings, options: ServerSourceOptions): InventorySource {
  if (servers === undefined) return staticSource;
  const { interval: period, log } = options;
  const onBroken = ({ message }: Error) => log.error("The pool's servers stay as they were", { reason: message });
  return createServersSource(
    typeof servers === "string"
      ? (signal) => follow(() => readServersConf(servers), { period, onBroken }, signal)
      : () => [servers],
    createServerSource(options),
    log,
  );
}

/** What pods hold, while the kubelet tells. Says once that it does not. */
function createHeldUnits({ podResourcesSocket, resourceName }: PluginSettings, log: Logger) {
  let complaint: string | undefined;
  return async () => {
    try {
      const held = await readHeldUnits(podResourcesSocket, resourceName);
      complaint = undefined;
      return held;
    } catch (error) {
      const reason = messageOf(error);
      if (reason !== complaint) log.warn("Cannot ask the kubelet which units pods hold", { reason });
      complaint = reason;
      return undefined;
    }
  };
}
