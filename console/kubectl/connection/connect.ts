import { KubeConfig } from "@kubernetes/client-node";
import { createRequest, type KubernetesRequest } from "../../../kubernetes/request.ts";
import { messageOf } from "../../../program/log/log.ts";
import { UserError } from "../user_error.ts";

export interface ConnectionOptions {
  /** Path of a kubeconfig. Default: as kubectl finds it. */
  kubeconfig?: string | undefined;
  /** Default: the current context. */
  context?: string | undefined;
}

/** The API server of a user, and the namespace of the context. */
export interface Connection {
  readonly request: KubernetesRequest;
  readonly namespace: string;
}

/** The context for http://localhost:8080 that the client library makes up when nothing configures a server. */
const MADE_UP_CONTEXT = "loaded-context";

/**
 * Connects as kubectl does: KUBECONFIG with one or several files, ~/.kube/config, or the service account of a pod. Credentials may be
 * certificates, tokens, OIDC or a plugin.
 *
 * @throws {UserError} names the file or the context, and what is expected.
 */
export function connect({ kubeconfig, context }: ConnectionOptions): Connection {
  const config = load(kubeconfig);
  if (context !== undefined) {
    const names = config.getContexts().map(({ name }) => name);
    if (!names.includes(context)) {
      throw new UserError(
        `Cannot use --context "${context}": expected one of ${names.join(", ") || "none, there are no contexts"}`,
      );
    }
    config.setCurrentContext(context);
  }
  const cluster = config.getCurrentCluster();
  if (!cluster || config.getCurrentContext() === MADE_UP_CONTEXT) {
    throw new UserError("Cannot find an API server: expected a kubeconfig with a current context, or --context");
  }
  tellPluginItsVersion(config);
  const { namespace } = config.getContextObject(config.getCurrentContext()) ?? {};
  return { request: createRequest(config, cluster.server), namespace: namespace || "default" };
}

function load(path: string | undefined): KubeConfig {
  const config = new KubeConfig();
  try {
    if (path === undefined) config.loadFromDefault();
    else config.loadFromFile(path);
  } catch (error) {
    const [reason] = messageOf(error).split("\n");
    throw new UserError(`Cannot read ${path === undefined ? "the kubeconfig" : `--kubeconfig "${path}"`}: ${reason}`);
  }
  return config;
}

/** Plugins expect a variable with the version of the API that they should answer in. The client library does not set it. */
function tellPluginItsVersion(config: KubeConfig): void {
  const { exec } = config.getCurrentUser() ?? {};
  if (!exec) return;
  const { apiVersion = "client.authentication.k8s.io/v1" } = exec;
  const info = { apiVersion, kind: "ExecCredential", spec: { interactive: false } };
  exec.env = [...(exec.env ?? []), { name: "KUBERNETES_EXEC_INFO", value: JSON.stringify(info) }];
}
