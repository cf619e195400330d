import { once } from "node:events";
import { existsSync } from "node:fs";
import { Registry } from "prom-client";
import type { KubernetesRequest } from "../kubernetes/request.ts";
import type { Token } from "../pool/token/token.ts";
import { createTokenSource } from "../pool/token/token_source.ts";
import type { Environment } from "../program/environment.ts";
import { serveProbes } from "../program/http/probes.ts";
import { createLatest } from "../program/latest.ts";
import { collectProcessMetrics } from "../program/process_metrics.ts";
import { runProgram } from "../program/run.ts";
import type { Driver, DriverOptions } from "./driver/driver.ts";
import { readSettings } from "./settings.ts";
import { createDevicePlugin } from "./units/device_plugin.ts";
import { forgetLeftoverUnits } from "./units/held_units.ts";

/** The token of the service account of a pod. */
const TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/** How long after the start memory is returned to the system, in ms. */
const SETTLE = 5000;

/**
 * The program of a node: the DRA driver, which prepares claims for the kubelet. Without claims, also the device plugin, by which the node counts
 * the units of the pool.
 */
await runProgram("device-plugin", async ({ environment, log, signal }) => {
  const settings = readSettings(environment);
  const { allocation, servers, tokenFolder: folder, resourceName, metricsPort } = settings;
  const registry = new Registry();
  collectProcessMetrics(registry);
  const token = createLatest<Token>();
  const devicePlugin = allocation === "units" ? createDevicePlugin({ settings, token, registry, log }) : undefined;
  const driver = await loadDriver({ settings, token, registry, log }, environment);
  await using probes = await serveProbes({
    port: metricsPort,
    notReady: () => devicePlugin?.notReady() ?? driver?.notReady(),
    metrics: registry,
  });
  log.info("Started", { allocation, servers, resourceName, metricsPort: probes.port });
  setTimeout(returnMemory, SETTLE).unref();

  const ended = new AbortController();
  const untilEnded = AbortSignal.any([signal, ended.signal]);
  const followToken = async () => {
    for await (const next of createTokenSource({ folder, connect, log })(untilEnded)) token.set(next);
    if (!untilEnded.aborted) await once(untilEnded, "abort"); // a token that does not change
  };
  const parts = [
    ...(servers ? [followToken()] : []),
    devicePlugin
      ? devicePlugin.run(untilEnded)
      : forgetLeftoverUnits({ socket: settings.podResourcesSocket, resourceName, log }, untilEnded),
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

/** The program is idle most of the time. This returns 2.5 MB of 62. */
function returnMemory(): void {
  Bun.gc(true);
  Bun.shrink();
}
