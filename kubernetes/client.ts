import {
  AdmissionregistrationV1Api,
  type ConfigurationOptions,
  CoreV1Api,
  createConfiguration,
  KubeConfig,
  Observable,
  type RequestContext,
  ResponseContext,
  ServerConfiguration,
  wrapHttpLibrary,
} from "@kubernetes/client-node";
import { ConfigError } from "../program/config_error.ts";
import { createRequest, fetchWithTls, type KubernetesRequest } from "./request.ts";

/** The API groups that the programs use. */
export interface KubernetesApi {
  readonly core: CoreV1Api;
  readonly admissionRegistration: AdmissionregistrationV1Api;
  /** For watches, and for objects whose unknown fields must be kept: the typed clients support neither. */
  readonly request: KubernetesRequest;
}

/** The context for http://localhost:8080 that the client library makes up when nothing configures a server. */
const DEFAULT_CONTEXT = "loaded-context";

/**
 * Connects to the API server of the service account, or of KUBECONFIG outside a cluster.
 *
 * @param signal ends all calls of the typed clients; {@link withSignal} ends one
 * @throws {ConfigError} if neither is set.
 */
export function connectKubernetes(signal?: AbortSignal): KubernetesApi {
  const config = loadConfig();
  const cluster = config.getCurrentCluster();
  if (!cluster || config.currentContext === DEFAULT_CONTEXT) {
    throw new ConfigError("Cannot find the API server: expected a service account, or KUBECONFIG");
  }
  const configuration = createConfiguration({
    baseServer: new ServerConfiguration(cluster.server, {}),
    authMethods: { default: config },
    httpApi: wrapHttpLibrary({
      send(request) {
        const ownSignal = request.getSignal();
        if (signal) request.setSignal(AbortSignal.any([signal, ownSignal ?? []].flat()));
        return send(config, request);
      },
    }),
  });
  return {
    core: new CoreV1Api(configuration),
    admissionRegistration: new AdmissionregistrationV1Api(configuration),
    request: createRequest(config, cluster.server),
  };
}

function loadConfig(): KubeConfig {
  const config = new KubeConfig();
  try {
    config.loadFromDefault();
  } catch (error) {
    const [reason] = (error as Error).message.split("\n");
    throw new ConfigError(`Cannot read KUBECONFIG="${process.env.KUBECONFIG ?? ""}": ${reason}`);
  }
  return config;
}

/** Options of a call of the typed clients that ends with the signal. */
export function withSignal(signal: AbortSignal): ConfigurationOptions {
  const pre = (request: RequestContext) => {
    request.setSignal(signal);
    return new Observable(Promise.resolve(request));
  };
  return { middleware: [{ pre, post: (response) => new Observable(Promise.resolve(response)) }] };
}

async function send(config: KubeConfig, request: RequestContext): Promise<ResponseContext> {
  const response = await fetchWithTls(config, request);
  const content = Buffer.from(await response.arrayBuffer());
  return new ResponseContext(response.status, Object.fromEntries(response.headers), {
    text: async () => content.toString(),
    binary: async () => content,
    stream: () => new Blob([content]).stream(),
  });
}
