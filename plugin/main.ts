import { once } from "node:events";
import { existsSync } from "node:fs";
import { isDeepStrictEqual } from "node:util";
import type { KubernetesRequest } from "../kubernetes/request.ts";
import { createPoolSource } from "../pool/sources/pool_source.ts";
import { staticSource } from "../pool/sources/static_source.ts";
import type { Token } from "../pool/token/token.ts";
import { createTokenSource } from "../pool/token/token_source.ts";
import type { Environment } from "../program/environment.ts";
import { serveProbes } from "../program/http/probes.ts";
import { createLatest } from "../program/latest.ts";
import { type Logger, messageOf } from "../program/log/log.ts";
import { runProgram } from "../program/run.ts";
import { listUnits, type UnitList } from "./devices.ts";
import type { Driver, DriverOptions } from "./driver/driver.ts";
import { readHeldUnits } from "./held_units.ts";
import { runLifecycle } from "./lifecycle.ts";
import { createPluginMetrics } from "./metrics.ts";
import { type PluginSettings, readSettings } from "./settings.ts";

/** The token of the service account of a pod. */
const TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/** How long after the first registration memory is returned to the system, in ms. */
const SETTLE = 1000;

/**
 * The device plugin of a node: it reports to the kubelet how many units the pool has, and which are healthy. Beside it runs the DRA
 * driver, if the scheduler shares the pool by claims.
 */
await runProgram("device-plugin", async ({ environment, log, signal }) => {
  const settings = readSettings(environment);
  const { resourceName, resourceNums, part, interval, servers, tokenFolder: folder } = settings;
  const units = createLatest<UnitList>();
  let registered = false;
  const metrics = createPluginMetrics({ units: () => units.current, heldUnits: createHeldUnits(settings, log) });
  const onRoundTrip = (server: string, time: number) => metrics.roundTrips.observe({ server }, time / 1000);
  const token = createLatest<Token>();
  const source = servers
    ? createPoolSource(servers, { interval, token: (signal) => token.changes(signal), log, onRoundTrip })
    : staticSource;
  const driver = await loadDriver({ settings, token, registry: metrics.registry, log }, environment);
  await using probes = await serveProbes({
    port: settings.metricsPort,
    notReady: () => (registered ? driver?.notReady() : "Not registered with the kubelet"),
    metrics: metrics.registry,
  });
  if (part?.index === -1) {
    log.warn("SPLIT_NODES does not name this node: it lists nothing", { node: environment.NODE_NAME });
  }
  log.info("Started", { servers, resourceName, metricsPort: probes.port });

  const ended = new AbortController();
  const untilEnded = AbortSignal.any([signal, ended.signal]);
  const followToken = async () => {
    for await (const next of createTokenSource({ folder, connect, log })(untilEnded)) token.set(next);
    if (!untilEnded.aborted) await once(untilEnded, "abort"); // a token that does not change
  };
  const followPool = async () => {
    for await (const inventory of source(untilEnded)) {
      const list = listUnits(inventory, { resourceNums, part });
      if (isDeepStrictEqual(list, units.current)) continue;
      if (list.gpus.size === 0) log.warn("The pool has no units", { servers, resourceNums });
      if (list.unlisted > 0) log.warn("The pool has more units than this node may list", { unlisted: list.unlisted });
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
      if (value && !registered) setTimeout(returnMemory, SETTLE).unref();
      registered = value;
    },
    signal: untilEnded,
  });
  const parts = [
    followPool(),
    lifecycle,
    ...(servers ? [followToken()] : []),
    ...(driver ? [driver.run(untilEnded)] : []),
  ];
  await Promise.all(parts.map((part) => part.finally(() => ended.abort()))); // the first part that ends stops the others
});

/** Loads the driver only if it runs: the API client needs time and memory. */
async function loadDriver(
  options: Omit<DriverOptions, "request">,
  environment: Environment,
): Promise<Driver | undefined> {
  // With units, claims may still be held since before a change of ALLOCATION: without a driver, the kubelet could never end their pods.
  if (options.settings.allocation === "units" && !hasApiServer(environment)) {
    options.log.info("The driver does not run", { because: "There is neither a service account nor KUBECONFIG" });
    return undefined;
  }
  const { createDriver } = await import("./driver/driver.ts");
  return createDriver({ ...options, request: await connect() });
}

/** Connects to the API server. */
async function connect(): Promise<KubernetesRequest> {
  const { connectKubernetes } = await import("../kubernetes/client.ts");
  return connectKubernetes().request;
}

function hasApiServer({ KUBECONFIG, KUBERNETES_SERVICE_HOST }: Environment): boolean {
  return Boolean(KUBECONFIG || (KUBERNETES_SERVICE_HOST && existsSync(TOKEN)));
}

/** The units that pods hold. Undefined while the kubelet does not answer, which is logged once per reason. */
function createHeldUnits({ podResourcesSocket, resourceName }: PluginSettings, log: Logger) {
  let logged: string | undefined;
  return async () => {
    try {
      const held = await readHeldUnits(podResourcesSocket, resourceName);
      logged = undefined;
      return held;
    } catch (error) {
      const reason = messageOf(error);
      if (reason !== logged) log.warn("Cannot read from the kubelet which units pods hold", { reason });
      logged = reason;
      return undefined;
    }
  };
}

/** The plugin is idle most of the time. This returns 2.5 MB of 62. */
function returnMemory(): void {
  Bun.gc(true);
  Bun.shrink();
}
