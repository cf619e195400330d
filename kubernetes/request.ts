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

/** Requests to the cluster of a kubeconfig. */
export function createRequest(config: KubeConfig, server: string): KubernetesRequest {
  return async (path, options = {}) => {
    const { method = "GET", query = {}, body, contentType = "application/json", timeout, signal } = options;
    const url = new URL(path, server);
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
 * Sends a request of the client library. Its own transport loses the TLS settings on Bun (oven-sh/bun#21492).
 *
 * @throws {KubernetesError} on every status code that is not 2xx.
 * @throws {Error} that names the call if the API server cannot be reached, or does not answer within `timeout` ms.
 */
export async function fetchWithTls(config: KubeConfig, request: RequestContext, timeout = TIMEOUT): Promise<Response> {
  const body = request.getBody();
  const signal = request.getSignal();
  const call = `${request.getHttpMethod()} ${new URL(request.getUrl()).pathname}`;
  const options = {
    method: request.getHttpMethod(),
    headers: request.getHeaders(),
    ...(typeof body === "string" ? { body } : {}),
    signal: AbortSignal.any([signal ?? [], AbortSignal.timeout(timeout)].flat()),
    tls: await tlsOptions(config),
  };
  const response = await fetch(request.getUrl(), options).catch((error) => {
    signal?.throwIfAborted();
    throw new Error(`${call} failed: ${messageOf(error)}`, { cause: error });
  });
  if (response.ok) return response;
  throw toKubernetesError(call, response.status, await response.text());
}

type TlsOptions = NonNullable<BunFetchRequestInit["tls"]>;

async function tlsOptions(config: KubeConfig): Promise<TlsOptions> {
  const options: Parameters<KubeConfig["applyToHTTPSOptions"]>[0] = {};
  await config.applyToHTTPSOptions(options);
  const { ca, cert, key, rejectUnauthorized } = options;
  return { ca, cert, key, rejectUnauthorized: rejectUnauthorized ?? true } as TlsOptions;
}
