import { existsSync } from "node:fs";
import { isDeepStrictEqual } from "node:util";
import { createPoolSource } from "../pool/sources/pool_source.ts";
import { staticSource } from "../pool/sources/static_source.ts";
import type { Environment } from "../program/environment.ts";
import { createLatest } from "../program/latest.ts";
import { type Logger, messageOf } from "../program/log/log.ts";
import { serveProbes } from "../program/probes.ts";
import { runProgram } from "../program/run.ts";
import { type UnitList, unitsOf } from "./devices.ts";
import type { Driver, DriverOptions } from "./driver/driver.ts";
import { readHeldUnits } from "./held_units.ts";
import { runLifecycle } from "./lifecycle.ts";
import { createPluginMetrics } from "./metrics.ts";
import { type PluginSettings, readSettings } from "./settings.ts";

/** Where a pod with a service account has its token. */
const TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/** How long after a registration the memory that it took is given back, in ms. */
const SETTLE = 1000;

/**
 * The device plugin: tells the kubelet of its node how many units the pool holds, and which are healthy. Beside it, where the scheduler
 * shares the pool by claims, the driver: tells containers which GPUs they hold.
 */
await runProgram("device-plugin", async ({ environment, log, signal }) => {
  const settings = readSettings(environment);
  const { resourceName, resourceNums, part, interval, servers } = settings;
  const units = createLatest<UnitList>();
  let registered = false;
  const metrics = createPluginMetrics({ units: () => units.current, heldUnits: createHeldUnits(settings, log) });
  const onRoundTrip = (server: string, time: number) => metrics.roundTrips.observe({ server }, time / 1000);
  const source = servers ? createPoolSource(servers, { interval, log, onRoundTrip }) : staticSource;
  const driver = await loadDriver({ settings, registry: metrics.registry, log }, environment);
  await using probes = serveProbes({
    port: settings.metricsPort,
    notReady: () => (registered ? driver?.notReady() : "Not registered with the kubelet"),
    metrics: metrics.registry,
  });
  if (part?.index === -1)
    log.warn("This node is none of SPLIT_NODES: it lists nothing", { node: environment.NODE_NAME });
  log.info("Started", { servers, resourceName, metricsPort: probes.port });

  // The first part that ends ends the others.
  const over = new AbortController();
  const untilOver = AbortSignal.any([signal, over.signal]);
  const followPool = async () => {
    for await (const inventory of source(untilOver)) {
      const list = unitsOf(inventory, { resourceNums, part });
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
      if (value && !registered) setTimeout(giveBackMemory, SETTLE).unref();
      registered = value;
    },
    signal: untilOver,
  });
  const parts = [followPool(), lifecycle, ...(driver ? [driver.run(untilOver)] : [])];
  await Promise.all(parts.map((part) => part.finally(() => over.abort())));
});

/** Loaded only where it runs: the API server's client takes time and memory. */
async function loadDriver(
  options: Omit<DriverOptions, "request">,
  environment: Environment,
): Promise<Driver | undefined> {
  const { runs, because } = decideOnDriver(options.settings, environment);
  options.log.info(runs ? "The driver runs" : "The driver does not run", { because });
  if (!runs) return undefined;
  const { connectKubernetes } = await import("../kubernetes/client.ts");
  const { createDriver } = await import("./driver/driver.ts");
  return createDriver({ ...options, request: connectKubernetes().request });
}

function decideOnDriver(
  { allocation }: DriverOptions["settings"],
  environment: Environment,
): { runs: boolean; because: string } {
  if (allocation) return { runs: allocation === "claims", because: `ALLOCATION=${allocation}` };
  if (environment.KUBECONFIG) return { runs: true, because: "KUBECONFIG names an API server" };
  if (environment.KUBERNETES_SERVICE_HOST && existsSync(TOKEN)) {
    return { runs: true, because: "There is a service account" };
  }
  return { runs: false, because: "There is neither a service account nor KUBECONFIG" };
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

/** Most of a plugin's life is idle: 2.5 MB of 62. */
function giveBackMemory(): void {
  Bun.gc(true);
  Bun.shrink();
}
