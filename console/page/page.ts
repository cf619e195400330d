import type { KubernetesRequest } from "../../kubernetes/request.ts";
import { listenOn } from "../../program/http/listen.ts";
import { serveProbes } from "../../program/http/probes.ts";
import type { Logger } from "../../program/log/log.ts";
import type { Assets } from "./assets.ts";
import { createPagePool } from "./follow.ts";
import { createApp } from "./http/app.ts";
import { createBroadcast } from "./http/broadcast.ts";
import { createPageMetrics } from "./metrics.ts";
import type { PageSettings } from "./settings.ts";

export interface PageOptions {
  request: KubernetesRequest;
  settings: Omit<PageSettings, "assets">;
  assets: Assets;
  log: Logger;
  /** Called with the port, once the page is served. */
  onServing?: (port: number) => void;
}

/** How long a connection may be silent, in seconds: longer than the pause between two comments of a stream. */
const IDLE_TIMEOUT = 60;

/** Serves the page until the signal is aborted. @throws {ConfigError} if a port cannot be opened. */
export async function servePage(
  { request, settings, assets, log, onServing }: PageOptions,
  signal: AbortSignal,
): Promise<void> {
  const { hosts, port, metricsPort } = settings;
  using broadcast = createBroadcast();
  const pool = createPagePool({ request, log, onState: broadcast.publish });
  const metrics = createPageMetrics({ readers: () => broadcast.readers });
  await using probes = await serveProbes({
    port: metricsPort,
    notReady: () => (pool.isKnown ? undefined : "No answer from the API server yet"),
    metrics: metrics.registry,
  });
  const app = createApp({ assets, broadcast, wayOf: pool.wayOf, hosts, log });
  const open = () => Bun.serve({ port, idleTimeout: IDLE_TIMEOUT, maxRequestBodySize: 0, fetch: app.fetch });
  const server = await listenOn("PORT", port, open);
  await using _ = { [Symbol.asyncDispose]: () => server.stop(true) };
  log.info("Serving", { port: server.port, metricsPort: probes.port });
  onServing?.(server.port ?? port);
  await pool.run(signal);
}
