import type { Registry } from "prom-client";

export interface ProbesOptions {
  /** TCP port on all addresses; 0 for any free one. */
  port: number;
  /** What the program still waits for, or undefined when it is ready. */
  notReady: () => string | undefined;
  /** What a ready program says of itself. */
  detail?: () => string;
  metrics: Registry;
}

/** Plain HTTP for the kubelet's probes and for Prometheus: /livez, /readyz, /metrics. */
export function serveProbes({ port, notReady, detail, metrics }: ProbesOptions): { port: number } & AsyncDisposable {
  const server = Bun.serve({
    port,
    routes: {
      "/livez": new Response("ok\n"),
      "/readyz": () => readiness(notReady(), detail?.()),
      "/metrics": async () =>
        new Response(await metrics.metrics(), { headers: { "Content-Type": metrics.contentType } }),
    },
    fetch: () => new Response("Not found\n", { status: 404 }),
  });
  return { port: server.port ?? port, [Symbol.asyncDispose]: () => server.stop(true) };
}

/** 200, or 503 with what is missing. */
export function readiness(missing: string | undefined, detail = "ok"): Response {
  return missing === undefined ? new Response(`${detail}\n`) : new Response(`${missing}\n`, { status: 503 });
}
