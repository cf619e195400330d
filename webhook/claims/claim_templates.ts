import { setTimeout as sleep } from "node:timers/promises";
import type { CoreV1Api, ResourceV1Api, V1ResourceClaimSpec, V1ResourceClaimTemplate } from "@kubernetes/client-node";
import { ignoreStatus, isStatus } from "../../kubernetes/error.ts";
import { isManagedBy, managedBy, managedBySelector } from "../../kubernetes/objects/managed_by.ts";
import { type Logger, messageOf } from "../../program/log/log.ts";
import type { ClaimTemplate } from "./claim.ts";

/** Ensures that a namespace has the claim templates that its pod references. */
export type EnsureClaimTemplates = (namespace: string, templates: readonly ClaimTemplate[]) => Promise<void>;

export interface ClaimTemplatesOptions {
  resource: ResourceV1Api;
  core: CoreV1Api;
  log: Logger;
  /** ms since the epoch. */
  now: () => number;
}

/** The claim templates that this webhook has created, in all namespaces. */
export interface ClaimTemplates {
  ensure: EnsureClaimTemplates;
  /** Removes the templates that were not requested for a day and that no pod references. */
  removeUnused(): Promise<void>;
}

const PROGRAM = "bitfusion-webhook";

/** When a pod last requested the template, as an RFC 3339 time. It is updated at most once per hour. */
const LAST_USED = "bitfusion.io/last-used";
const HOUR = 3_600_000;
const LIFE = 24 * HOUR;

/** How long a template that was seen is assumed to exist, in ms. Far shorter than its lifetime. */
const SEEN = 60_000;

export function createClaimTemplates({ resource, core, log, now }: ClaimTemplatesOptions): ClaimTemplates {
  const seen = new Map<string, number>();

  async function ensureOne(namespace: string, { name, spec, annotations }: ClaimTemplate): Promise<void> {
    const key = `${namespace}/${name}`;
    if (now() - (seen.get(key) ?? Number.NEGATIVE_INFINITY) < SEEN) return;
    const metadata = { name, labels: managedBy(PROGRAM), annotations: { [LAST_USED]: new Date(now()).toISOString() } };
    try {
      const body = {
        metadata,
        spec: { metadata: { annotations: { ...annotations } }, spec: spec as V1ResourceClaimSpec },
      };
      await resource.createNamespacedResourceClaimTemplate({ namespace, body });
      log.info("Claim template created", { namespace, name });
    } catch (error) {
      if (!isStatus(error, 409)) throw error;
      await markUsed(namespace, name);
    }
    seen.set(key, now());
  }

  /** A conflict means that another replica, or another pod's review, was faster. */
  async function markUsed(namespace: string, name: string): Promise<void> {
    const template = await resource.readNamespacedResourceClaimTemplate({ namespace, name });
    if (!isManagedBy(template, PROGRAM) || now() - lastUsed(template) < HOUR) return;
    template.metadata = {
      ...template.metadata,
      annotations: { ...template.metadata?.annotations, [LAST_USED]: new Date(now()).toISOString() },
    };
    await ignoreStatus(409, resource.replaceNamespacedResourceClaimTemplate({ namespace, name, body: template }));
  }

  async function removeIfUnused({ metadata = {} }: V1ResourceClaimTemplate): Promise<void> {
    const { name = "", namespace = "", uid = "", resourceVersion = "" } = metadata;
    const { items } = await core.listNamespacedPod({ namespace });
    const isNamed = items.some(({ spec }) =>
      spec?.resourceClaims?.some(({ resourceClaimTemplateName }) => resourceClaimTemplateName === name),
    );
    if (isNamed) return;
    // A pod that requests the template meanwhile changes its resourceVersion. The template then stays.
    const body = { preconditions: { uid, resourceVersion } };
    const removed = resource.deleteNamespacedResourceClaimTemplate({ namespace, name, body });
    const logged = removed.then(() => log.info("Claim template removed: unused for a day", { namespace, name }));
    await ignoreStatus(409, ignoreStatus(404, logged));
  }

  return {
    async ensure(namespace, templates) {
      await Promise.all(templates.map((template) => ensureOne(namespace, template)));
    },
    async removeUnused() {
      for (const [key, time] of seen) if (now() - time >= SEEN) seen.delete(key);
      const { items } = await resource.listResourceClaimTemplateForAllNamespaces({
        labelSelector: managedBySelector(PROGRAM),
      });
      for (const template of items) if (now() - lastUsed(template) >= LIFE) await removeIfUnused(template);
    },
  };
}

/** How often unused templates are removed, in ms. */
const CLEANING = HOUR;

/** Removes unused templates periodically until the signal is aborted. */
export async function keepClean(
  { removeUnused }: ClaimTemplates,
  { log, signal }: { log: Logger; signal: AbortSignal },
): Promise<void> {
  while (!signal.aborted) {
    await removeUnused().catch((error) => {
      log.warn("Cannot remove unused claim templates", { reason: messageOf(error) });
    });
    await sleep(CLEANING, undefined, { signal }).catch(() => {}); // rejects only when aborted
  }
}

/** ms since the epoch. */
function lastUsed({ metadata }: V1ResourceClaimTemplate): number {
  const time = Date.parse(metadata?.annotations?.[LAST_USED] ?? "");
  return Number.isNaN(time) ? (metadata?.creationTimestamp?.getTime() ?? 0) : time;
}
