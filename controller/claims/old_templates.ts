import { setTimeout as sleep } from "node:timers/promises";
import { ignoreStatus, isStatus } from "../../kubernetes/error.ts";
import { managedBySelector } from "../../kubernetes/objects/managed_by.ts";
import type { KubernetesRequest } from "../../kubernetes/request.ts";
import type { ApiObject } from "../../kubernetes/watch.ts";
import { type Logger, messageOf } from "../../program/log/log.ts";

/** Path of the collection of all ResourceClaimTemplates. */
const TEMPLATES = "/apis/resource.k8s.io/v1/resourceclaimtemplates";

/** The webhook of versions up to 0.1 created templates, and wrote here when a pod had requested them last, at most an hour late. */
const LAST_USED = "bitfusion.io/last-used";
const CREATOR = "bitfusion-webhook";

const HOUR = 3_600_000;

/** How long a template stays after its last use, in ms: during an upgrade, an earlier webhook may still be running. */
const KEPT = 2 * HOUR;

export interface OldTemplatesOptions {
  request: KubernetesRequest;
  log: Logger;
  /** ms since the epoch. */
  now?: () => number;
}

interface Template extends ApiObject {
  readonly metadata: ApiObject["metadata"] & {
    readonly annotations?: Readonly<Record<string, string>>;
    readonly creationTimestamp?: string;
  };
}

/** Removes the ResourceClaimTemplates that earlier versions have left, once an hour. Returns when the signal is aborted. */
export async function removeOldTemplates(
  { request, log, now = Date.now }: OldTemplatesOptions,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    try {
      for await (const template of removeTemplates(request, { unusedSince: now() - KEPT }, signal)) {
        log.info("Claim template removed", { template });
      }
    } catch (error) {
      if (!signal.aborted) log.warn("Cannot remove claim templates", { reason: messageOf(error) });
    }
    await sleep(HOUR, undefined, { signal }).catch(() => {}); // rejects only when aborted
  }
}

/**
 * Removes the templates of earlier versions that no pod has requested since then, in ms since the epoch. Yields the key of each,
 * `namespace/name`.
 */
export async function* removeTemplates(
  request: KubernetesRequest,
  { unusedSince }: { unusedSince: number },
  signal: AbortSignal,
): AsyncGenerator<string> {
  for (const { metadata } of await listTemplates(request, signal)) {
    if (lastUsed(metadata) > unusedSince) continue;
    const { namespace = "", name, uid } = metadata;
    const path = TEMPLATES.replace("/v1/", `/v1/namespaces/${namespace}/`);
    const body = { preconditions: { uid } };
    await ignoreStatus(404, request(`${path}/${name}`, { method: "DELETE", body, signal }));
    yield `${namespace}/${name}`;
  }
}

async function listTemplates(request: KubernetesRequest, signal: AbortSignal): Promise<readonly Template[]> {
  const query = { labelSelector: managedBySelector(CREATOR) };
  try {
    return ((await (await request(TEMPLATES, { query, signal })).json()) as { items: Template[] }).items;
  } catch (error) {
    if (isStatus(error, 404)) return []; // Kubernetes before 1.34
    throw error;
  }
}

/** ms since the epoch. */
function lastUsed({ annotations, creationTimestamp = "" }: Template["metadata"]): number {
  const time = Date.parse(annotations?.[LAST_USED] ?? creationTimestamp);
  return Number.isNaN(time) ? 0 : time;
}
