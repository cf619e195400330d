import {
  AdmissionregistrationV1Api,
  CoordinationV1Api,
  CoreV1Api,
  createConfiguration,
  HttpMethod,
  KubeConfig,
  RequestContext,
  ResourceV1Api,
  ResponseContext,
  ServerConfiguration,
  wrapHttpLibrary,
} from "@kubernetes/client-node";
import { ConfigError } from "../program/config_error.ts";

/** The API groups that this project uses. */
export interface KubernetesApi {
  readonly core: CoreV1Api;
  readonly admissionRegistration: AdmissionregistrationV1Api;
  readonly resource: ResourceV1Api;
  readonly coordination: CoordinationV1Api;
  /** For objects as they are: the groups above know only some fields, and cannot watch. */
  readonly request: KubernetesRequest;
}

export interface RequestOptions {
  readonly method?: "GET" | "POST" | "PUT" | "DELETE";
  readonly query?: Readonly<Record<string, string>>;
  /** Sent as JSON. */
  readonly body?: unknown;
  /** Longest time until the whole answer is there, in ms. */
  readonly timeout?: number;
  readonly signal?: AbortSignal;
}

/** Asks for a path of the API, such as /api/v1/pods. @throws {KubernetesError} on each status that is no success. */
export type KubernetesRequest = (path: string, options?: RequestOptions) => Promise<Response>;

/** The context that the client makes up, of http://localhost:8080, when nothing names a server. */
const GUESSED = "loaded-context";

/** Longest time for one request, in ms. */
const TIMEOUT = 10_000;

/**
 * The API server that the service account, or outside a cluster KUBECONFIG, names.
 *
 * @throws {ConfigError} when neither does.
 */
export function connectKubernetes(): KubernetesApi {
  const config = readConfig();
  const cluster = config.getCurrentCluster();
  if (!cluster || config.currentContext === GUESSED) {
    throw new ConfigError("Cannot find the API server: expected a service account, or KUBECONFIG");
  }
  const configuration = createConfiguration({
    baseServer: new ServerConfiguration(cluster.server, {}),
    authMethods: { default: config },
    httpApi: wrapHttpLibrary({ send: (request) => send(config, request) }),
  });
  return {
    core: new CoreV1Api(configuration),
    admissionRegistration: new AdmissionregistrationV1Api(configuration),
    resource: new ResourceV1Api(configuration),
    coordination: new CoordinationV1Api(configuration),
    request: (path, options) => requestPath(config, new URL(path, cluster.server), options),
  };
}

function readConfig(): KubeConfig {
  const config = new KubeConfig();
  try {
    config.loadFromDefault();
  } catch (error) {
    const [reason] = (error as Error).message.split("\n");
    throw new ConfigError(`Cannot read KUBECONFIG="${process.env.KUBECONFIG ?? ""}": ${reason}`);
  }
  return config;
}

/** The client's own transport loses the TLS settings on Bun (oven-sh/bun#21492): this hands them to fetch. */
async function send(config: KubeConfig, request: RequestContext): Promise<ResponseContext> {
  const response = await fetchWith(config, request);
  const content = Buffer.from(await response.arrayBuffer());
  return new ResponseContext(response.status, Object.fromEntries(response.headers), {
    text: async () => content.toString(),
    binary: async () => content,
    stream: () => new Blob([content]).stream(),
  });
}

async function requestPath(config: KubeConfig, url: URL, options: RequestOptions = {}): Promise<Response> {
  const { method = "GET", query = {}, body, timeout = TIMEOUT, signal } = options;
  url.search = new URLSearchParams(query).toString();
  const request = new RequestContext(url.href, HttpMethod[method]);
  if (body !== undefined) {
    request.setHeaderParam("Content-Type", "application/json");
    request.setBody(JSON.stringify(body));
  }
  if (signal) request.setSignal(signal);
  await config.applySecurityAuthentication(request);
  return fetchWith(config, request, timeout);
}

async function fetchWith(config: KubeConfig, request: RequestContext, timeout = TIMEOUT): Promise<Response> {
  const body = request.getBody();
  const response = await fetch(request.getUrl(), {
    method: request.getHttpMethod(),
    headers: request.getHeaders(),
    ...(typeof body === "string" ? { body } : {}),
    signal: AbortSignal.any([request.getSignal() ?? [], AbortSignal.timeout(timeout)].flat()),
    tls: await tlsOf(config),
  });
  if (!response.ok) throw errorOf(request, response, await response.text());
  return response;
}

type Tls = NonNullable<BunFetchRequestInit["tls"]>;

async function tlsOf(config: KubeConfig): Promise<Tls> {
  const options: Parameters<KubeConfig["applyToHTTPSOptions"]>[0] = {};
  await config.applyToHTTPSOptions(options);
  const { ca, cert, key, rejectUnauthorized } = options;
  return { ca, cert, key, rejectUnauthorized: rejectUnauthorized ?? true } as Tls;
}

/** The API server's refusal, in its own words. */
export class KubernetesError extends Error {
  override name = "KubernetesError";
  /** HTTP status. */
  readonly code: number;
  /** Name of the object that it is about; undefined when it is about none, or when it was not the API server that answered. */
  readonly object: string | undefined;
  constructor(code: number, message: string, object?: string) {
    super(message);
    this.code = code;
    this.object = object;
  }
}

/** Whether the API server answered with this HTTP status. */
export function isStatus(error: unknown, code: 404 | 409): boolean {
  return error instanceof KubernetesError && error.code === code;
}

/** Whether the API server says that there is no such object: not that it knows no such resource, nor that a proxy has lost its way. */
export function isMissing(error: unknown): boolean {
  return isStatus(error, 404) && (error as KubernetesError).object !== undefined;
}

function errorOf(request: RequestContext, { status: code }: Response, body: string): KubernetesError {
  const call = `${request.getHttpMethod()} ${new URL(request.getUrl()).pathname}`;
  const { message = body.slice(0, 200), details } = readStatus(body);
  return new KubernetesError(code, `${call} answered ${code}: ${message}`, details?.name);
}

interface Status {
  message?: string;
  details?: { name?: string };
}

/** What a Status object says; nothing if it is none. */
function readStatus(body: string): Status {
  try {
    return (JSON.parse(body) as Status | null) ?? {};
  } catch {
    return {}; // a proxy's page, say
  }
}
