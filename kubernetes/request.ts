import { setTimeout as sleep } from "node:timers/promises";
import { HttpMethod, type KubeConfig, RequestContext } from "@kubernetes/client-node";
import { messageOf } from "../program/log/log.ts";
import { toKubernetesError } from "./error.ts";

export interface RequestOptions {
  readonly method?: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  readonly query?: Readonly<Record<string, string>>;
  /** Sent as JSON. */
  readonly body?: unknown;
  /** Content type of the body; application/json by default. */
  readonly contentType?: string;
  /** Time limit for the whole response, in ms. */
  readonly timeout?: number;
  readonly signal?: AbortSignal;
}

/**
 * Requests a path of the API, such as /api/v1/pods.
 *
 * @throws {KubernetesError} on every status code that is not 2xx.
 */
export type KubernetesRequest = (path: string, options?: RequestOptions) => Promise<Response>;

/** Time limit for one request, in ms. */
const TIMEOUT = 10_000;

/** What happened to the connection, by the error codes whose messages on Bun give advice instead. */
const CONNECTION_ERRORS: Readonly<Record<string, (host: string) => string>> = {
  ECONNREFUSED: (host) => `${host} refused the connection`,
  ConnectionRefused: (host) => `${host} refused the connection`,
  ECONNRESET: (host) => `${host} closed the connection`,
  ConnectionClosed: (host) => `${host} closed the connection`,
};

/** Requests to the cluster of a kubeconfig. */
export function createRequest(config: KubeConfig, server: string): KubernetesRequest {
  return async (path, options = {}) => {
    const { method = "GET", query = {}, body, contentType = "application/json", timeout, signal } = options;
    const url = new URL(server.replace(/\/+$/, "") + path); // a server behind a proxy may have a path of its own
    url.search = new URLSearchParams(query).toString();
    const request = new RequestContext(url.href, HttpMethod[method]);
    if (body !== undefined) {
      request.setHeaderParam("Content-Type", contentType);
      request.setBody(JSON.stringify(body));
    }
    if (signal) request.setSignal(signal);
    await config.applySecurityAuthentication(request);
    return fetchWithTls(config, request, timeout);
  };
}

/**
 * Sends a request of the client library. Its own transport loses the TLS settings on Bun (oven-sh/bun#21492). A request
 * that the API server is too busy for (429) is sent again after the time in its header Retry-After, while time is left.
 *
 * @returns a response whose body fails with an error that names the call, too.
 * @throws {KubernetesError} on every status code that is not 2xx.
 * @throws {Error} that names the call if the API server cannot be reached, does not answer within `timeout` ms, or does
 * not answer before the request's signal times out.
 */
export async function fetchWithTls(config: KubeConfig, request: RequestContext, timeout = TIMEOUT): Promise<Response> {
  const body = request.getBody();
  const url = new URL(request.getUrl());
  const caller = request.getSignal();
  const limit = AbortSignal.timeout(timeout);
  const signal = AbortSignal.any([caller ?? [], limit].flat());
  const call = `${request.getHttpMethod()} ${url.pathname}`;
  const end = performance.now() + timeout;
  const options = {
    method: request.getHttpMethod(),
    headers: request.getHeaders(),
    ...(typeof body === "string" ? { body } : {}),
    signal,
    tls: await tlsOptions(config),
    ...proxyOption(config),
  };

  /** Throws what happened instead of an answer. */
  function fail(error: unknown): never {
    if (caller?.aborted) {
      if ((caller.reason as Error | undefined)?.name !== "TimeoutError") throw caller.reason;
      throw new Error(`${call} was not answered in time`);
    }
    if (limit.aborted) throw new Error(`${call} was not answered within ${timeout / 1000} s`);
    const { code } = error as NodeJS.ErrnoException;
    throw new Error(`${call} failed: ${CONNECTION_ERRORS[code ?? ""]?.(url.host) ?? messageOf(error)}`);
  }

  for (;;) {
    const response = await fetch(url, options).catch(fail);
    if (response.ok) return new Response(response.body && withErrors(response.body, fail), response);
    const error = toKubernetesError(call, response.status, await response.text().catch(fail));
    const delay = retryAfter(response.headers);
    if (response.status !== 429 || delay === undefined || performance.now() + delay >= end) throw error;
    await sleep(delay, undefined, { signal }).catch(() => {
      if (caller?.aborted && caller.reason?.name !== "TimeoutError") throw caller.reason;
      throw error;
    });
  }
}

/**
 * The time to wait before a request is sent again, in ms. API Priority and Fairness answers `Retry-After: 1`. Undefined without the header, as for
 * an eviction that a disruption budget does not allow: the server does not ask for another try.
 */
function retryAfter(headers: Headers): number | undefined {
  const header = headers.get("Retry-After");
  if (header === null) return undefined;
  const seconds = Number(header);
  return (Number.isFinite(seconds) && seconds >= 0 ? seconds : 1) * 1000;
}

/** A body that fails with the error that `fail` throws. */
function withErrors(body: ReadableStream<Uint8Array>, fail: (error: unknown) => never): ReadableStream<Uint8Array> {
  const reader = body.getReader();
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      const { done, value } = await reader.read().catch(fail);
      if (done) controller.close();
      else controller.enqueue(value);
    },
    cancel: (reason) => reader.cancel(reason),
  });
}

type TlsOptions = NonNullable<BunFetchRequestInit["tls"]>;

async function tlsOptions(config: KubeConfig): Promise<TlsOptions> {
  const options: Parameters<KubeConfig["applyToHTTPSOptions"]>[0] = {};
  await config.applyToHTTPSOptions(options);
  const { ca, cert, key, rejectUnauthorized, servername } = options;
  return { ca, cert, key, rejectUnauthorized: rejectUnauthorized ?? true, servername } as TlsOptions;
}

/** `proxy-url` of a kubeconfig. @throws {Error} if Bun cannot use it. */
function proxyOption(config: KubeConfig): { proxy?: string } {
  const { proxyUrl: proxy } = config.getCurrentCluster() ?? {};
  if (!proxy) return {};
  if (/^https?:/.test(proxy)) return { proxy };
  throw new Error(`Cannot use proxy-url "${proxy}" of the kubeconfig: expected an http or https URL`);
}
