import { Elysia } from "elysia";
import { type Logger, messageOf } from "../../../program/log/log.ts";
import { quote } from "../../../program/text/quote.ts";
import type { Assets } from "../assets.ts";
import type { PodWayRow } from "../state/wire.ts";
import type { Broadcast } from "./broadcast.ts";
import { SECURITY_HEADERS } from "./headers.ts";

export interface AppOptions {
  assets: Assets;
  broadcast: Pick<Broadcast, "open">;
  /** The way of a pod. Undefined if there is no such pod. */
  wayOf: (namespace: string, pod: string) => PodWayRow | undefined;
  /** Host names under which the page may be called, without ports. */
  hosts: readonly string[];
  log: Logger;
}

/** The HTTP interface of the page. All of it is read-only. It opens no port. */
export function createApp({ assets, broadcast, wayOf, hosts, log }: AppOptions) {
  return new Elysia()
    .onRequest(({ request, set }) => {
      Object.assign(set.headers, SECURITY_HEADERS, { "Cache-Control": "no-store" });
      // A page of another site could make its own name point to this address, and read what this page answers.
      const host = hostOf(request);
      if (!hosts.includes(host)) {
        const names = hosts.join(", ");
        return text(421, `Cannot answer for the host ${quote(host)}: expected one of ${names}, as HOSTS says`);
      }
      return undefined;
    })
    .onError(({ code, error, path }) => {
      if (code === "NOT_FOUND") return text(404, "Not found");
      log.error("Request failed", { path, reason: messageOf(error) });
      return text(500, "The page failed");
    })
    .get("/events", () => {
      const stream = broadcast.open();
      if (!stream) return text(503, "Too many readers");
      return new Response(stream, { headers: { ...SECURITY_HEADERS, ...EVENT_STREAM } });
    })
    .get("/pods/:namespace/:pod", ({ params: { namespace, pod } }) => {
      const way = wayOf(namespace, pod);
      return way ? Response.json(way, { headers: SECURITY_HEADERS }) : text(404, "No such pod");
    })
    .get("/*", ({ path }) => {
      const asset = assets.get(path === "/" ? "/index.html" : path);
      if (!asset) return text(404, "Not found");
      const { content, type } = asset;
      return new Response(content, { headers: { ...SECURITY_HEADERS, "Content-Type": type } });
    });
}

const EVENT_STREAM = { "Content-Type": "text/event-stream", "Cache-Control": "no-store" } as const;

function text(status: number, message: string): Response {
  const headers = { ...SECURITY_HEADERS, "Cache-Control": "no-store", "Content-Type": "text/plain; charset=utf-8" };
  return new Response(`${message}\n`, { status, headers });
}

/** The host name that a request is for, without its port. */
function hostOf(request: Request): string {
  const host = request.headers.get("Host") ?? "";
  return host.replace(/:\d+$/, "").toLowerCase();
}
