import type { Registry } from "prom-client";

export interface ProbesOptions {
  /** TCP port on all addresses; 0 selects a free port. */
  port: number;
  /** Returns what the program waits for, or undefined if it is ready. */
  notReady: () => string | undefined;
  /** Returns the body of /readyz when the program is ready; "ok" by default. */
  detail?: () => string;
  metrics: Registry;
}

/** Serves /livez, /readyz and /metrics over plain HTTP, for the probes of the kubelet and for Prometheus. */
export function serveProbes({ port, notReady, detail, metrics }: ProbesOptions): { port: number } & AsyncDisposable {
  const server = Bun.serve({
    port,
    routes: {
      "/livez": new Response("ok\n"),
      "/readyz": () => readinessResponse(notReady(), detail?.()),
      "/metrics": async () =>
        new Response(await metrics.metrics(), { headers: { "Content-Type": metrics.contentType } }),
    },
    fetch: () => new Response("Not found\n", { status: 404 }),
  });
  return { port: server.port ?? port, [Symbol.asyncDispose]: () => server.stop(true) };
}

/** The response of a readiness probe: 200, or 503 with what is missing. */
export function readinessResponse(missing: string | undefined, detail = "ok"): Response {
  return missing === undefined ? new Response(`${detail}\n`) : new Response(`${missing}\n`, { status: 503 });
}
