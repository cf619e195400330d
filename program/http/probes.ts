import type { Registry } from "prom-client";
import { listenOn } from "./listen.ts";

export interface ProbesOptions {
  /** TCP port; 0 selects a free port. */
  port: number;
  /** Address to listen on; all by default. */
  host?: string;
  /** The setting that has the port; METRICS_PORT by default. */
  setting?: string;
  /** Returns what the program waits for, or undefined if it is ready. */
  notReady: () => string | undefined;
  /** Returns the body of /readyz when the program is ready; "ok" by default. */
  detail?: () => string;
  metrics: Registry;
}

/**
 * Serves /livez, /readyz and /metrics over plain HTTP, for the probes of the kubelet and for Prometheus.
 *
 * @throws {ConfigError} if the port cannot be opened.
 */
export async function serveProbes(options: ProbesOptions): Promise<{ port: number } & AsyncDisposable> {
  const { port, host, setting = "METRICS_PORT", notReady, detail, metrics } = options;
  const open = () =>
    Bun.serve({
      port,
      ...(host === undefined ? {} : { hostname: host }),
      routes: {
        "/livez": new Response("ok\n"),
        "/readyz": () => readinessResponse(notReady(), detail?.()),
        "/metrics": async () =>
          new Response(await metrics.metrics(), { headers: { "Content-Type": metrics.contentType } }),
      },
      fetch: () => new Response("Not found\n", { status: 404 }),
    });
  const server = await listenOn(setting, port, open);
  return { port: server.port ?? port, [Symbol.asyncDispose]: () => server.stop(true) };
}

/** The response of a readiness probe: 200, or 503 with what is missing. */
export function readinessResponse(missing: string | undefined, detail = "ok"): Response {
  return missing === undefined ? new Response(`${detail}\n`) : new Response(`${missing}\n`, { status: 503 });
}
