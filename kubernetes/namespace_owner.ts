import { createBackoff } from "../program/backoff.ts";
import { type Logger, messageOf } from "../program/log/log.ts";
import type { OwnerReference } from "./objects/owner_reference.ts";
import type { KubernetesRequest } from "./request.ts";
import type { ApiObject } from "./watch.ts";

export interface NamespaceOwnerOptions {
  request: KubernetesRequest;
  /** Name of the namespace. */
  namespace: string;
  log: Logger;
  signal: AbortSignal;
}

/**
 * The reference by which a namespace owns objects that are not in it: Kubernetes deletes them with the namespace. Undefined once the signal
 * is aborted. Failures are logged and retried with backoff.
 *
 * A program in the namespace needs to read it only once: the program ends with the namespace, whose successor has another uid.
 */
export async function readNamespaceOwner(options: NamespaceOwnerOptions): Promise<OwnerReference | undefined> {
  const { request, namespace, log, signal } = options;
  const backoff = createBackoff();
  while (!signal.aborted) {
    try {
      const response = await request(`/api/v1/namespaces/${encodeURIComponent(namespace)}`, { signal });
      const { metadata } = (await response.json()) as ApiObject;
      return { apiVersion: "v1", kind: "Namespace", name: metadata.name, uid: metadata.uid ?? "" };
    } catch (error) {
      if (signal.aborted) return undefined;
      log.warn("Cannot read the own namespace", { namespace, reason: messageOf(error) });
    }
    await backoff.wait(signal).catch(() => {}); // rejects only when aborted
  }
  return undefined;
}
